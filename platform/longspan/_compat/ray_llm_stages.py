"""Private interfaces of Ray Data LLM 2.60: the stage of vLLM's engine, to be subclassed. Importing it takes seconds.

Ray has no public way to see the model that an engine has loaded, or to refuse rows because of it.
"""

from __future__ import annotations

from ray.llm._internal.batch.stages.vllm_engine_stage import vLLMEngineStage, vLLMEngineStageUDF

__all__ = ["vLLMEngineStage", "vLLMEngineStageUDF"]
