"""Memory savers of a training worker: bytes that each frees on the device, and bytes that it takes on the host.

Savers are ordered by what they cost in time: heads one at a time need more kernels, tiles recompute the MLP once more,
checkpoints the whole layer, activations are copied twice per micro-batch, the optimizer steps on the host once per
update, and weights are copied for every layer and pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts
    from longspan.plan.memory import WorkerMemory, Workload


@dataclass(frozen=True)
class Savers:
    """Memory savers in use, the cheapest first."""

    headwise_attention: bool = False
    """One query head of a worker at a time."""
    tiled_mlp: bool = False
    """MLPs and norms."""
    activation_checkpointing: bool = False
    """Only each layer's input is kept, and the layer is recomputed."""
    offload_activations: bool = False
    """Inputs of checkpointed layers."""
    offload_optimizer: bool = False
    offload_parameters: bool = False
    """This worker's shard of the weights; at ZeRO stage 3 only."""

    @property
    def used(self) -> tuple[str, ...]:
        """Names of those in use."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))


NO_SAVERS = Savers()


@dataclass(frozen=True)
class HostBytes:
    """Host memory of one worker for what is offloaded (pinned, on CUDA), in bytes."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0

    @property
    def total(self) -> int:
        """All four."""
        return self.weights + self.gradients + self.optimizer + self.activations


NOTHING_ON_HOST = HostBytes()


def cheapest_first() -> Iterator[Savers]:
    """All sets of savers that are possible, from none to all; one costs more than all that come before it together."""
    for flags in product((False, True), repeat=len(fields(Savers))):
        savers = Savers(*reversed(flags))
        if savers.activation_checkpointing or not savers.offload_activations:
            yield savers


def with_offloads(
    memory: WorkerMemory,
    facts: ModelFacts,
    workload: Workload,
    stage: int,
    parameters_per_worker: int,
    element: int,
) -> WorkerMemory:
    """Memory of a worker whose states and activations are offloaded as the workload's savers say.

    Args:
        memory: of the worker, with nothing of its states on the host; its layers have the savers already.
        facts: of the model.
        workload: tokens, and the savers.
        stage: of ZeRO.
        parameters_per_worker: parameters that one worker updates.
        element: bytes of a parameter and of an activation.
    """
    savers, states, host = workload.savers, memory.states, NOTHING_ON_HOST
    if savers.offload_activations:
        inputs = workload.tokens * facts.hidden * element
        # torch rounds each block of pinned memory up to a power of two.
        host = replace(host, activations=facts.layers * 2 ** (inputs - 1).bit_length())
    if savers.offload_optimizer:
        # It steps with gradients in fp32. At stage 3 DeepSpeed accumulates gradients on the host as well.
        moved = states.gradients if stage == 3 else 0
        gradients = moved + 4 * parameters_per_worker
        host = replace(host, optimizer=states.optimizer, gradients=gradients)
        states = replace(states, optimizer=0, gradients=states.gradients - moved)
    if savers.offload_parameters:
        host = replace(host, weights=states.weights)
        states = replace(states, weights=0)
    update = 0 if savers.offload_optimizer else memory.update
    return replace(memory, states=states, update=update, host=host)
