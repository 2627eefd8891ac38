"""Architectures of the tests: a few of each kind always, all of them in the deep tests."""

from typing import Any

import pytest

from longspan.model.facts import facts_from_config
from longspan.model.support import VARIANTS, default_config, measured, model_types

Changes = dict[str, Any]

FAST: tuple[tuple[str, Changes], ...] = (
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    ("mistral", {}),
    ("qwen2", {"use_sliding_window": True, "max_window_layers": 16}),
    ("qwen3", {"tie_word_embeddings": True}),
    ("phi3", {"sliding_window": 2047}),
    ("ministral3", {}),
    ("gpt_neox", {}),
    ("olmo2", {}),
    ("cwm", {}),
    ("gemma", {}),
    ("lfm2", {}),
    ("qwen3_5_text", {}),
    ("falcon_h1", {}),
)
"""Dense and hybrid, with and without biases, tied and not, partly rotated, of sliding windows, of scaled positions."""


def every_architecture() -> list[Any]:
    """Return the fast cases and, marked as deep, all others; model types and changes of their default configs."""
    cases = [pytest.param(name, changes, id=_id(name, changes)) for name, changes in FAST]
    others = [(name, {}) for name in model_types()]
    others += [(name, dict(changes)) for name, _, changes in VARIANTS]
    return cases + [
        pytest.param(name, changes, id=_id(name, changes), marks=pytest.mark.deep)
        for name, changes in others
        if (name, changes) not in FAST
    ]


def facts_of(name: str, changes: Changes) -> Any:
    """Facts of the default config of a type with some keys changed; a `UserError` if it is refused."""
    config = default_config(name, **changes)
    return measured(facts_from_config(config), config)


def _id(name: str, changes: Changes) -> str:
    return "-".join([name, *changes])
