"""Identity of a run's data: the recipe's values that decide what raw objects become, stored at its first start.

Keys of corpora are taken from the recipe's schema, so that none can be forgotten. A key that is added
to the schema is compared from then on; runs that started before have its default.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import create_model

from longspan.config.section import Section
from longspan.recipe.schema import Corpus, Decontaminate, Recipe
from longspan.recipe.sft import SftCorpus
from longspan.train.identity import Difference, differences

# The identity of the run has the weights, and how documents are packed.
NOT_OF_DATA = {"weight", "base_weight", "prompt_loss", "pack"}

_CORPUS_FIELDS: dict[str, Any] = {
    name: (field.annotation, field)
    for name, field in (SftCorpus.model_fields | Corpus.model_fields).items()
    if name not in NOT_OF_DATA
}

CorpusIdentity = create_model(
    "CorpusIdentity",
    __base__=Section,
    __doc__="Values of a corpus that decide what its raw objects become.",
    **_CORPUS_FIELDS,
)


class DataIdentity(Section):
    """Values that decide, besides the raw objects, what a run trains on."""

    tokenizer: str
    """Hash of the tokenizer's files."""
    chat_template: str | None
    """Hash of the chat template's own file, empty without one; None if no corpus has conversations."""
    end_of_turn: str | None = None
    """Text that ends an answer; None for the control token behind it, and without conversations."""
    document_separator: str | None
    heldout_fraction: float
    deduplicate: str
    decontaminate: Decontaminate | None
    corpora: tuple[CorpusIdentity, ...]  # pyrefly: ignore

    @property
    def names(self) -> list[str]:
        """Names of the corpora, in the recipe's order."""
        return [corpus["name"] for corpus in self.to_json()["corpora"]]

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `model_validate` reads."""
        return self.model_dump(mode="json")

    def differences(self, current: DataIdentity) -> list[Difference]:
        """All values that other data does not share with this."""
        return differences(dict(_by_key(self)), dict(_by_key(current)))


def data_identity(recipe: Recipe, tokenizer: str, template: str) -> DataIdentity:
    """Identity of a recipe's data.

    Args:
        recipe: what is asked for.
        tokenizer: hash of the tokenizer's files.
        template: hash of the chat template's own file, empty without one.
    """
    is_chat = any(corpus.format == "chat" for corpus in recipe.corpora)
    return DataIdentity(
        tokenizer=tokenizer,
        chat_template=template if is_chat else None,
        end_of_turn=recipe.end_of_turn if is_chat else None,
        document_separator=recipe.document_separator,
        heldout_fraction=recipe.heldout.fraction,
        deduplicate=recipe.deduplicate,
        decontaminate=recipe.decontaminate,
        corpora=tuple(
            _corpus(corpus.model_dump(mode="json", exclude=NOT_OF_DATA))
            for corpus in recipe.corpora
        ),
    )


def from_settings_v1(settings: dict[str, Any]) -> DataIdentity:
    """Identity of the data of a run that began with version 1: values by recipe key, without defaults.

    Raises:
        LookupError, ValueError: these are no such settings.
    """
    template = settings.get("tokenizer's chat template")
    states_chat = any(
        settings.get(f"corpora.{name}.format") == "chat" for name in settings["corpora"]
    )
    # A recipe of jobs/sft.py has conversations by default, so that none of its corpora stated it.
    default = "chat" if template is not None and not states_chat else "auto"
    corpora = []
    for name in settings["corpora"]:
        prefix = f"corpora.{name}."
        stated = {
            key.removeprefix(prefix): value
            for key, value in settings.items()
            if key.startswith(prefix)
        }
        corpora.append(_corpus({"name": name, "format": default} | stated))
    return DataIdentity(
        tokenizer=settings["tokenizer"].removeprefix("files with hash "),
        chat_template=None if template is None else template.removeprefix("a file with hash "),
        document_separator=settings["document_separator"],
        heldout_fraction=settings["heldout.fraction"],
        deduplicate=settings.get("deduplicate", "none"),
        decontaminate=settings.get("decontaminate"),
        corpora=tuple(corpora),
    )


def _corpus(values: dict[str, Any]) -> Section:
    path = values["path"]
    return CorpusIdentity(**values | {"path": [path] if isinstance(path, str) else path})


def _by_key(identity: DataIdentity) -> Iterator[tuple[str, Any]]:
    """Values by recipe key."""
    values = identity.to_json()
    yield "corpora", identity.names
    yield "tokenizer", f"files with hash {identity.tokenizer}"
    # No template and an empty one differ: the one has no conversations, which the formats tell.
    if identity.chat_template is not None:
        yield "tokenizer (its chat template)", f"a file with hash {identity.chat_template}"
    yield "end_of_turn", values["end_of_turn"]
    yield "document_separator", values["document_separator"]
    yield "heldout.fraction", values["heldout_fraction"]
    yield "deduplicate", values["deduplicate"]
    yield "decontaminate", values["decontaminate"]
    for corpus in values["corpora"]:
        name = corpus.pop("name")
        corpus.setdefault("format_options", {})  # A dump leaves it out if it is empty.
        yield from ((f"corpora.{name}.{key}", value) for key, value in corpus.items())
