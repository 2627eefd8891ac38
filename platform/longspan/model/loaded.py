"""Comparison of a model as an inference engine has loaded it with what its folder states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from longspan.model.facts import rope_of_config


def rope_differences(stated: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return each stated value of `rope_parameters` that the engine does not have, with both values.

    Args:
        stated: `rope_parameters` of the model's config.json (`ModelFacts.rope`).
        config: the Hugging Face config that the engine works with.
    """
    loaded = rope_of_config(config)
    return [
        f"{key} is {stated[key]!r} in config.json, {loaded.get(key)!r} in the engine"
        for key in sorted(stated)
        if loaded.get(key) != stated[key]
    ]


def window_difference(stated: int, loaded: int) -> list[str]:
    """Return both windows, in tokens, if they differ.

    Args:
        stated: that the engine was asked for.
        loaded: the engine's `max_model_len`.
    """
    if stated == loaded:
        return []
    return [f"the window is {stated:,} tokens, {loaded:,} in the engine"]
