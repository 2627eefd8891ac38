"""Evaluated models: identity, shape and tokenizer, found without reading weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longspan.hashing import content_id
from longspan.model.address import model_address
from longspan.model.cache import model_cache_folder
from longspan.model.facts import ModelFacts, read_facts
from longspan.model.source import local_tokenizer_dir, named, require_weights, revision
from longspan.storage import Store


@dataclass(frozen=True)
class EvaluatedModel:
    """A model to evaluate, or one to compare with.

    Attributes:
        name: as the recipe states it.
        key: the recipe's key that names it, for messages.
        address: an absolute folder, an s3:// address, or a hub name with its commit.
        identity: changes with its files.
        facts: its shape and window, from config.json.
        folder: local folder with its small files (config, tokenizer).
    """

    name: str
    key: str
    address: str
    identity: str
    facts: ModelFacts
    folder: Path

    @property
    def rope(self) -> dict[str, Any]:
        """Its `rope_parameters`."""
        return dict(self.facts.rope)


def inspect_model(name: str, key: str, store: Store) -> EvaluatedModel:
    """Return a model's facts; small files of a store or a hub are fetched, weights are not.

    Raises:
        UserError: there is no such model, or it is no causal language model of safetensors.
    """
    with named(key):
        address = model_address(name, store)
        require_weights(address, store)
        folder = local_tokenizer_dir(address, store, model_cache_folder())
        facts = read_facts(folder)
    identity = content_id(revision(address, store) or address)
    return EvaluatedModel(name, key, address, identity, facts, folder)
