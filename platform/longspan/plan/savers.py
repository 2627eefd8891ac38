"""Memory savers of a training worker: bytes that each frees on the device, and bytes that it takes on the host.

Savers are ordered by what they cost in time: tiles recompute the MLP once more, activations are copied twice per
micro-batch, the optimizer steps on the host once per update, and weights are copied for every layer and pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts
    from longspan.plan.memory import WorkerMemory, Workload

_LAYER_INPUTS_ON_DEVICE = 2
"""Layer inputs that are on the device at one time: the one in use, and the one being copied."""


@dataclass(frozen=True)
class Savers:
    """Memory savers in use, the cheapest first."""

    tiled_mlp: bool = False
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
    """All sets of savers, from none to all; one saver costs more than all that come before it."""
    for flags in product((False, True), repeat=len(fields(Savers))):
        yield Savers(*reversed(flags))


def with_savers(
    memory: WorkerMemory,
    facts: ModelFacts,
    workload: Workload,
    stage: int,
    parameters_per_worker: int,
    element: int,
) -> WorkerMemory:
    """Memory of a worker with the workload's savers, from that of one without.

    Args:
        memory: of the worker without savers.
        facts: of the model.
        workload: tokens, activation checkpointing, and the savers.
        stage: of ZeRO.
        parameters_per_worker: parameters that one worker updates.
        element: bytes of a parameter and of an activation.
    """
    savers, states, host = workload.savers, memory.states, NOTHING_ON_HOST
    activations, recomputed = memory.activations, memory.recomputed
    if savers.tiled_mlp:
        saved = tiling_saves(facts, workload, element)
        activations -= saved
        recomputed -= saved if workload.activation_checkpointing else 0
    if savers.offload_activations:
        inputs = workload.tokens * facts.hidden * element
        activations -= max(0, facts.layers - _LAYER_INPUTS_ON_DEVICE) * inputs
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
    return replace(
        memory,
        states=states,
        activations=activations,
        recomputed=recomputed,
        update=update,
        host=host,
    )


def tiling_saves(facts: ModelFacts, workload: Workload, element: int) -> int:
    """Bytes that the tiled MLP frees; negative where it takes more than it frees.

    A gated MLP has four intermediate tensors. Tiles add the tiles' outputs beside the joined one and, in bf16, the
    weights' gradients in fp32 (three matrices, and one product that is added to them).
    """
    tokens, tile = workload.tokens, min(workload.tokens, workload.mlp_tile or facts.hidden)
    if tile == tokens:
        return 0
    per_token = 4 * element * facts.intermediate
    layers = 1 if workload.activation_checkpointing else facts.layers
    freed = per_token * (layers * tokens - tile)
    outputs = tokens * facts.hidden * element
    gradients = 4 * 4 * facts.hidden * facts.intermediate if element == 2 else 0
    return freed - outputs - gradients
