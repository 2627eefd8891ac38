"""Estimated memory of one worker as a table: bytes per component, on the device and on the host."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from longspan.observe.tables import size
from longspan.plan.longest import longest_row
from longspan.plan.memory import USABLE, WorkerMemory, Workload, worker_memory
from longspan.recipe.host_memory import host_fits, workers_of_node
from longspan.recipe.savers import available_savers

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts
    from longspan.plan.device import Device
    from longspan.recipe.derive import RunPlan
    from longspan.recipe.schema import Recipe

MEMORY_HEADER = ("memory per worker", "device", "host", "")


def memory_rows(
    recipe: Recipe, facts: ModelFacts, plan: RunPlan, device: Device
) -> list[tuple[str, ...]]:
    """Component, device bytes, host bytes and remark; for rows of the greatest length and the fewest workers."""
    workload = _workload(recipe, plan)
    workers = plan.workers[0]
    memory = worker_memory(facts, workload, plan.zero_stage, workers, plan.precision)
    states, host = memory.states, memory.host
    rows = (
        (
            "weights",
            states.weights,
            host.weights,
            f"ZeRO {plan.zero_stage}, {workers} worker{'s' if workers > 1 else ''}",
        ),
        ("gradients", states.gradients, host.gradients, ""),
        ("optimizer", states.optimizer, host.optimizer, "fp32 master weights and two moments"),
        ("buffers", memory.buffers, 0, "gathered weights, gradients being reduced"),
        ("activations", memory.activations, host.activations, f"{workload.tokens:,} tokens"),
        ("one layer", memory.layer, 0, "its tensors and their gradients, in the backward pass"),
        ("exchange", memory.exchange, 0, _exchange_remark(workload)),
        ("loss", memory.loss, 0, _loss_remark(plan, workload)),
        ("optimizer step", memory.update, 0, "fp32 gradients, without activations and logits"),
        ("peak", memory.total, host.total, "an estimate; allocator and kernels need more"),
        ("node", 0, host.total * workers_of_node(recipe, device), _node_remark(recipe, device)),
    )
    return [
        (name, size(device), size(host), remark)
        for name, device, host, remark in rows
        if device or host
    ]


def _exchange_remark(workload: Workload) -> str:
    return f"part of the layer: {workload.sequence_parallel} workers share a row"


def _loss_remark(plan: RunPlan, workload: Workload) -> str:
    tokens = min(plan.loss_chunk, workload.tokens)
    return f"logits of {tokens:,} tokens, when there is no layer"


def _node_remark(recipe: Recipe, device: Device) -> str:
    workers = workers_of_node(recipe, device)
    has = "unknown" if device.node_memory is None else size(device.node_memory)
    return f"{workers} worker{'s' if workers > 1 else ''} together; host memory of a node: {has}"


def longest_row_text(recipe: Recipe, facts: ModelFacts, plan: RunPlan, device: Device) -> str:
    """Longest row that fits on these devices: with the plan's savers and ZeRO stage, and with all savers."""
    workload, workers = _workload(recipe, plan), plan.workers[0]

    def is_enough(memory: WorkerMemory) -> bool:
        return memory.total <= USABLE * device.memory and host_fits(memory, recipe, device)

    planned = longest_row(facts, workload, plan.zero_stage, workers, plan.precision, is_enough)
    if device.kind == "cpu":  # Offloading frees nothing there.
        return f"longest row  {planned:,} tokens with this plan"
    every = replace(workload, savers=available_savers(recipe, facts, device))
    most = longest_row(facts, every, 3, workers, plan.precision, is_enough)
    longest = replace(every, length=most, micro_batch=1)
    host = worker_memory(facts, longest, 3, workers, plan.precision).host.total
    return (
        f"longest row  {planned:,} tokens with this plan, {most:,} with all memory savers at ZeRO stage 3 "
        f"({size(host * workers_of_node(recipe, device))} of host memory per node)"
    )


def _workload(recipe: Recipe, plan: RunPlan) -> Workload:
    longest = max(stage.length for stage in plan.stages)
    return Workload(
        longest,
        plan.micro_batch[longest],
        plan.loss_chunk,
        recipe.workers.sequence_parallel,
        plan.savers,
        plan.mlp_tile,
        plan.communication_data_type,
    )
