"""vLLM's stage of Ray Data, whose engine reports the model that it has loaded and is checked before it answers.

This module imports Ray's LLM package, which takes seconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from longspan._compat.ray_data_llm import ERROR_COLUMN
from longspan._compat.ray_llm_stages import vLLMEngineStage, vLLMEngineStageUDF
from longspan.generate.engine_report import (
    MISMATCH,
    REPORT,
    ExpectedModel,
    LoadedModel,
)


class ReportingStage(vLLMEngineStageUDF):
    """Answers rows, each with the engine's report; an engine that differs from what is expected answers none.

    Args:
        expected: facts of the model; None: not checked.
        window: tokens of a prompt and its reply that the engine was asked for.
        arguments: of Ray's own stage.
    """

    def __init__(self, *, expected: ExpectedModel | None, window: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        loaded = LoadedModel.of(self.llm.engine)
        self._report = loaded.report()
        self._refusal = ""
        if expected and (problems := expected.differences(loaded, window)):
            self._refusal = f"{MISMATCH}: {expected.refusal(problems)}"

    async def udf(self, batch: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        """See `vLLMEngineStageUDF.udf`."""
        if self._refusal:
            for row in batch:
                place = row[self.IDX_IN_BATCH_COLUMN]
                yield {self.IDX_IN_BATCH_COLUMN: place, ERROR_COLUMN: self._refusal}
            return
        async for row in super().udf(batch):
            yield row | {REPORT: self._report}


def reporting(stage: vLLMEngineStage, expected: ExpectedModel | None, window: int) -> Any:
    """Return Ray's stage with a reporting engine; arguments as those of `ReportingStage`."""
    stage.fn_constructor_kwargs.update(expected=expected, window=window)
    # Assigned, the field would have all the stage's arguments derived once more, from less than there was.
    return stage.model_copy(update={"fn": ReportingStage})
