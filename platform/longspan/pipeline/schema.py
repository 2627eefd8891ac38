"""What a user writes: which recipes follow one another."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from longspan.recipe.kinds import PIPELINE, DescribedFile, Kind
from longspan.recipe.schema import FolderName, Section

StageName = Literal["pretrain", "self_instruct", "sft"]
STAGES: tuple[StageName, ...] = ("pretrain", "self_instruct", "sft")
"""In their order."""


class StageRecipe(Section):
    """One stage."""

    recipe: str
    """Recipe of the stage's own job: a YAML file, relative to the pipeline's own."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Values to change in it, by dotted key."""


class PipelineRecipe(DescribedFile):
    """A chat model from a base model: continual pretraining, self-instruct, finetuning."""

    kind: ClassVar[Kind] = PIPELINE

    name: FolderName
    """Name of the pipeline, below whose folder in the store its stages are recorded."""
    pretrain: StageRecipe | None = None
    """Continual pretraining, first."""
    self_instruct: StageRecipe | None = None
    """Synthetic examples about long documents."""
    sft: StageRecipe | None = None
    """Supervised finetuning, last."""

    @model_validator(mode="after")
    def _there_is_a_stage(self) -> PipelineRecipe:
        if not self.stages:
            raise ValueError(f"give at least one stage: {', '.join(STAGES)}")
        return self

    @property
    def stages(self) -> dict[StageName, StageRecipe]:
        """Those that are asked for, in order."""
        found = {name: getattr(self, name) for name in STAGES}
        return {name: stage for name, stage in found.items() if stage}
