"""Private interfaces of Ray Data LLM 2.60: error rows, and options of the engines' actors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ERROR_COLUMN = "__inference_error__"
"""Column of a processor's rows: a row where it is not empty passes the engine by.

Its documentation says how failed rows come out, not that rows may fail before they go in.
"""
ENGINE_STAGE = "vLLMEngineStage"


def set_engine_actor_options(processor: Any, **options: Any) -> None:
    """Set options of Ray Data's `map_batches` for the actors of a processor's engines, before it is used.

    `vLLMEngineProcessorConfig` has no argument for restarts and label selectors.
    """
    stage = processor.get_stage_by_name(ENGINE_STAGE)
    # Assigned anew the options would be derived once more, from less than there was.
    stage.map_batches_kwargs.update(options)


def replace_engine_stage(processor: Any, replacement: Callable[[Any], Any]) -> None:
    """Replace the stage of a processor's engines with what a function makes of it, before the processor is used."""
    processor.stages[ENGINE_STAGE] = replacement(processor.get_stage_by_name(ENGINE_STAGE))
