"""Settings of the training engine, every value explicit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from longspan.train.gradient_types import DTYPES

if TYPE_CHECKING:
    import torch

    from longspan.train.learning_rate import CosineSchedule


@dataclass(frozen=True)
class EngineConfig:
    """Settings of an :class:`~longspan.train.engine.Engine`."""

    schedule: CosineSchedule
    zero_stage: Literal[1, 2, 3]
    precision: Literal["bf16", "fp32"]
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    gradient_clipping: float
    num_sources: int
    micro_batch: dict[int, int] = field(default_factory=dict)
    """Rows per forward pass, by row length; 1 where not given."""
    communication_data_type: Literal["bf16", "fp32"] = "fp32"
    """Data type in which ranks sum their gradients."""
    seed: int = 0
    offload_optimizer: bool = False
    """Keep the optimizer's state in host memory, and step there."""
    offload_parameters: bool = False
    """Keep this rank's shard of the weights in host memory; at ZeRO stage 3 only."""
    headwise_attention: bool = False
    """Compute attention for one query head of each rank at a time; its function is installed as for shared rows."""

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' type in forward and backward; masters and moments are fp32 either way."""
        return DTYPES[self.precision]
