"""The model that is served: what its folder states, and that the loaded engine has understood it so."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longspan.config.locations import open_store
from longspan.errors import UserError
from longspan.model.address import model_address
from longspan.model.facts import ModelFacts, read_facts
from longspan.model.hub import HubModel
from longspan.model.loaded import rope_differences, window_difference
from longspan.model.source import local_model_dir, local_tokenizer_dir, require_weights, revision
from longspan.serve.schema import ServeSettings
from longspan.storage import Store


@dataclass(frozen=True)
class ServedModel:
    """A model before it is loaded.

    Attributes:
        address: an absolute folder, an s3:// address or a hub name; any node finds it.
        name: what clients call it.
        facts: of its config.json.
        window: tokens of a prompt and its answer.
        has_chat_template: whether conversations can be rendered at all.
    """

    address: str
    name: str
    facts: ModelFacts
    window: int
    has_chat_template: bool


def inspect_served_model(settings: ServeSettings) -> ServedModel:
    """Read the model's small files; no weights.

    Raises:
        UserError: there is no such model, or the window asked for is longer than its own.
    """
    store = open_store(settings)
    with _as_model():
        address = model_address(_at_revision(settings), store)
        require_weights(address, store)
        _require_revision(address, settings, store)
        folder = local_tokenizer_dir(address, store, cache_folder())
        facts = read_facts(folder)
    window = settings.window or facts.window
    if window > facts.window:
        raise UserError(
            f"window: {window:,} tokens are more than the model's own {facts.window:,}; its positions "
            "are trained no further. Leave the key out, or serve a model with a longer window"
        )
    name = settings.name or _name_of(address)
    return ServedModel(address, name, facts, window, _has_chat_template(folder))


def fetch(address: str, settings: ServeSettings) -> Path:
    """The whole model in a folder of this node, fetched once where it is elsewhere.

    Raises:
        UserError: it is not there, not whole, or another one than was deployed.
    """
    store = open_store(settings)
    with _as_model():
        _require_revision(address, settings, store)
        return local_model_dir(address, store, cache_folder())


def cache_folder() -> Path:
    """Where this node keeps models that it has fetched."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longspan" / "models"


def check_loaded(model: ServedModel, config: Mapping[str, Any], window: int) -> None:
    """Compare what the engine reports with what the model's folder states.

    Args:
        model: as its folder states it.
        config: the Hugging Face config that the engine works with.
        window: the engine's ``max_model_len``.

    Raises:
        UserError: they differ: answers would be quietly wrong beyond some length.
    """
    problems = [
        *rope_differences(dict(model.facts.rope), config),
        *window_difference(model.window, window),
    ]
    if problems:
        raise UserError(
            f"model: vLLM has loaded {model.address} otherwise than its folder states: "
            f"{'; '.join(problems)}. It is not served: take what changes this out of `engine`, or export "
            "the model again"
        )


def _at_revision(settings: ServeSettings) -> str:
    """Return the model's address, at the commit that was deployed where it is one of a hub."""
    hub = HubModel.parse(settings.model)
    commit = HubModel(settings.model, settings.revision)
    is_hub_name = hub is not None and hub.revision is None
    return str(commit) if is_hub_name and commit.is_pinned else settings.model


def _require_revision(address: str, settings: ServeSettings, store: Store) -> None:
    """Refuse a folder that holds something else than when the version was deployed: one version is one model."""
    # An older version recorded nothing of a hub's model.
    if settings.revision and settings.revision != revision(address, store):
        raise UserError(
            f"model: {address} holds another model than when this version was deployed; deploy it anew, or "
            "put that model back"
        )


def _name_of(address: str) -> str:
    """``runs/long/model`` is called long, any other folder as it is."""
    hub = HubModel.parse(address)
    parts = (hub.name if hub else address).rstrip("/").split("/")
    return parts[-2] if parts[-1] == "model" and len(parts) > 1 else parts[-1]


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    path = folder / "tokenizer_config.json"
    return path.is_file() and bool(json.loads(path.read_text("utf-8")).get("chat_template"))


@contextmanager
def _as_model() -> Iterator[None]:
    """The service's key for what training calls base_model."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("base_model", "model")) from None
