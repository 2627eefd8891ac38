"""Private interfaces of vLLM 0.29: the resolved configuration of a running engine."""

from __future__ import annotations

from typing import Any


def model_config(async_llm: Any) -> Any:
    """Return the `ModelConfig` of vLLM's AsyncLLM: what it has loaded, where arguments only state what was asked for.

    vLLM documents its configuration's arguments, not the resolved objects.
    """
    return async_llm.vllm_config.model_config
