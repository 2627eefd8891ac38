"""Private interfaces of Ray Data LLM; tests of generation on a cluster run them."""

from longspan._compat.ray_data_llm import (
    ENGINE_STAGE,
    ERROR_COLUMN,
    replace_engine_stage,
    set_engine_actor_options,
)
from tests.compat.library_source import ClassSource, text


class Stage:
    def __init__(self) -> None:
        self.map_batches_kwargs = {"num_gpus": 1}


class Processor:
    """The part of Ray's processor that is used, as the contracts below state it."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.stages = {ENGINE_STAGE: self.stage}

    def get_stage_by_name(self, name: str) -> Stage:
        assert name == ENGINE_STAGE
        return self.stage


def test_options_are_added_to_those_of_the_engine_s_stage() -> None:
    processor = Processor()
    set_engine_actor_options(processor, max_restarts=3)
    assert processor.stage.map_batches_kwargs == {"num_gpus": 1, "max_restarts": 3}


def test_the_engine_s_stage_is_replaced() -> None:
    processor, other = Processor(), Stage()
    replace_engine_stage(processor, lambda stage: other if stage is processor.stage else None)
    assert processor.stages == {ENGINE_STAGE: other}


def test_a_processor_has_stages_by_name() -> None:
    processor = ClassSource("ray.llm._internal.batch.processor.base", "Processor")
    assert processor.methods()["get_stage_by_name"] == ["self", "name"]
    assert "stages" in processor.attributes()
    ClassSource("ray.llm._internal.batch.stages.vllm_engine_stage", ENGINE_STAGE)


def test_a_stage_has_options_of_its_actors() -> None:
    stage = ClassSource("ray.llm._internal.batch.stages.base", "StatefulStage")
    assert "map_batches_kwargs" in stage.attributes()


def test_the_engine_s_stage_can_be_subclassed() -> None:
    udf = ClassSource("ray.llm._internal.batch.stages.vllm_engine_stage", "vLLMEngineStageUDF")
    assert udf.methods()["udf"] == ["self", "batch"] and "llm" in udf.attributes()
    stage = ClassSource("ray.llm._internal.batch.stages.vllm_engine_stage", ENGINE_STAGE)
    assert "fn" in stage.attributes()


def test_rows_tell_errors_in_the_column() -> None:
    for module in ("stages.base", "stages.vllm_engine_stage"):
        assert f'"{ERROR_COLUMN}"' in text(f"ray.llm._internal.batch.{module}")
