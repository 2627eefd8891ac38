"""What a user writes: which recipes follow one another."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from longspan.config.file_kinds import PIPELINE, DescribedFile, Kind
from longspan.recipe.schema import FolderName, Section

StageName = Literal["pretrain", "self_instruct", "sft"]
STAGES: tuple[StageName, ...] = ("pretrain", "self_instruct", "sft")
"""Stages that make something, in their order."""
TrainingStage = Literal["pretrain", "sft"]


class StageRecipe(Section):
    """One stage."""

    recipe: str
    """Recipe of the stage's own job: a YAML file, relative to the pipeline's own."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Values to change in it, by dotted key."""


class EvaluationStage(StageRecipe):
    """Evaluation of each trained model, right after the stage that trains it.

    The recipe's name, model and reference are set: to the pipeline's name and the stage's, the trained model, and the
    model that the stage began with.
    """

    after: list[TrainingStage] = Field(default_factory=lambda: ["pretrain", "sft"], min_length=1)
    """Stages whose models are evaluated; of those, the ones that the pipeline has."""
    stop_on: Literal["fail", "inconclusive", "never"] = "fail"
    """Verdict that ends the pipeline: a failed one, also one that is inconclusive, or none."""


class PipelineRecipe(DescribedFile):
    """A chat model from a base model: continual pretraining, self-instruct, finetuning, each model evaluated."""

    kind: ClassVar[Kind] = PIPELINE

    name: FolderName
    """Name of the pipeline, below whose folder in the store its stages are recorded."""
    pretrain: StageRecipe | None = None
    """Continual pretraining, first."""
    self_instruct: StageRecipe | None = None
    """Synthetic examples about long documents."""
    sft: StageRecipe | None = None
    """Supervised finetuning, last."""
    evaluate: EvaluationStage | None = None
    """Evaluation of each trained model. Unset: none is evaluated."""

    @model_validator(mode="after")
    def _there_is_a_stage(self) -> PipelineRecipe:
        if not self.stages:
            raise ValueError(f"give at least one stage: {', '.join(STAGES)}")
        if self.evaluate and not self.evaluated:
            raise ValueError(
                "evaluate: would be ignored, since none of its stages "
                f"({', '.join(self.evaluate.after)}) is in this pipeline; add one, or leave evaluate out"
            )
        return self

    @property
    def stages(self) -> dict[StageName, StageRecipe]:
        """Those that are asked for, in order; without evaluations."""
        found = {name: getattr(self, name) for name in STAGES}
        return {name: stage for name, stage in found.items() if stage}

    @property
    def evaluated(self) -> tuple[TrainingStage, ...]:
        """Training stages whose models are evaluated, in order."""
        after = self.evaluate.after if self.evaluate else ()
        return tuple(name for name in ("pretrain", "sft") if name in after and getattr(self, name))
