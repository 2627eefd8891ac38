"""Inspection of the base model and its tokenizer before anything starts: small files only, no weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longspan.config.locations import local_path
from longspan.errors import UserError
from longspan.model.address import model_address
from longspan.model.config_json import parse_config
from longspan.model.facts import ModelFacts, facts_from_config
from longspan.model.hub import HubModel, read_file
from longspan.model.support import measured
from longspan.model.vocabulary import token_ids, why_foreign

if TYPE_CHECKING:
    from longspan.recipe.schema import Architecture, Recipe
    from longspan.storage import Store


@dataclass(frozen=True)
class BaseModel:
    """A base model's shape."""

    facts: ModelFacts
    unseen: str | None = None
    """Why its files could not be looked at, where the recipe's word was taken for its shape."""


def inspect_model(recipe: Recipe, store: Store) -> BaseModel:
    """The base model's facts, from its config.json, or from the recipe's ``architecture`` where that can't be reached.

    Raises:
        UserError: there is no such model and no ``architecture``, it is not a causal language model,
            ``architecture`` says something else, or the tokenizer doesn't belong to it.
    """
    try:
        config = _read_json(recipe.base_model, "config.json", store)
    except UserError as error:
        if recipe.architecture is None:
            raise
        return BaseModel(facts_of(recipe.architecture), unseen=str(error))
    if config is None:
        missing = _no_model(recipe.base_model, store)
        if recipe.architecture is None:
            raise UserError(missing)
        return BaseModel(facts_of(recipe.architecture), unseen=missing)
    facts = measured(facts_from_config(config), config)
    if recipe.architecture is not None:
        _must_match(recipe.architecture, facts)
    _check_tokenizer(recipe, config, store)
    return BaseModel(facts)


def _read_json(
    model: str, name: str, store: Store, key: str = "base_model"
) -> dict[str, Any] | None:
    text = _read(model, name, store, key)
    return None if text is None else parse_config(text, f"{name} of {model!r}", key)


def _read(model: str, name: str, store: Store, key: str) -> bytes | None:
    """A small file of a model: local folder, then store, then hub; None where there is none."""
    place = model_address(model, store)
    if "://" in place or Path(place).is_absolute():
        path = f"{place}/{name}"
        return store.read_bytes(path) if store.exists(path) else None
    return _from_hub(place, name, key)


def _from_hub(address: str, name: str, key: str) -> bytes | None:
    """A file of the hub's own cache, else of the hub."""
    from huggingface_hub import errors

    model = HubModel.parse(address)
    if model is None or "/" not in model.name:
        return None
    try:
        return read_file(model, name)
    except errors.GatedRepoError:
        raise UserError(
            f"{key}: the hub keeps {model.name!r} behind an agreement: accept it there, "
            "and log in with `hf auth login` or HF_TOKEN"
        ) from None


def _no_model(model: str, store: Store) -> str:
    return (
        f"base_model: there is no model {model!r}: not a folder ({local_path(model)}), not in the store "
        f"({store.uri(model)}), and the hub does not give it (or can't be reached); give a folder with a config.json"
    )


def facts_of(a: Architecture) -> ModelFacts:
    """The facts of a model whose shape a recipe states."""
    rope = (("rope_theta", a.rope_base), ("rope_type", "default"))
    return ModelFacts(**a.model_dump(), tied=False, model_type="llama", rope=rope)


def _must_match(stated: Architecture, facts: ModelFacts) -> None:
    for key, value in stated.model_dump().items():
        found = getattr(facts, key)
        if found != value:
            raise UserError(
                f"architecture.{key}: the recipe says {value:,}, the model's config.json {found:,}"
            )


def inspect_tokenizer(recipe: Recipe, store: Store) -> None:
    """Check the tokenizer alone, and that it belongs to the model where the model's config.json is there.

    Raises:
        UserError: there is none, it lacks the separator, or it is another model's.
    """
    try:
        config = _read_json(recipe.base_model, "config.json", store)
    except UserError:  # The tokenizer may be there without the model.
        config = None
    _check_tokenizer(recipe, config, store)


def _check_tokenizer(recipe: Recipe, config: dict[str, Any] | None, store: Store) -> None:
    """The tokenizer is the model's, and the separator a token of it."""
    name = recipe.tokenizer or recipe.base_model
    key = "tokenizer" if recipe.tokenizer else "base_model"
    described = _read_json(name, "tokenizer.json", store, key)
    if described is None:
        raise UserError(
            f"{key}: there is no tokenizer.json in {name!r}; save the tokenizer in the fast format"
        )
    problem = why_foreign(described, config) if config else None
    if problem:
        raise UserError(f"{key}: the tokenizer of {name!r} does not belong to the model: {problem}")
    separator = recipe.document_separator
    if separator is not None and separator not in token_ids(described):
        raise UserError(
            f"document_separator: {separator!r} is no token of the tokenizer of {name!r}"
        )
