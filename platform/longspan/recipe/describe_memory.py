"""Estimated memory of one worker as a table: bytes per component, on the device and on the host."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from longspan.observe.tables import size
from longspan.plan.longest import longest_row
from longspan.plan.memory import Workload, worker_memory
from longspan.plan.savers import Savers

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts
    from longspan.recipe.derive import RunPlan
    from longspan.recipe.device import Device
    from longspan.recipe.schema import Recipe

_ALL = Savers(True, True, True, True)

MEMORY_HEADER = ("memory per worker", "device", "host", "")


def memory_rows(recipe: Recipe, facts: ModelFacts, plan: RunPlan) -> list[tuple[str, ...]]:
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
        ("exchange", memory.exchange, 0, f"{workload.sequence_parallel} workers share a row"),
        ("logits", memory.logits, 0, f"{min(plan.loss_chunk, workload.tokens):,} tokens"),
        ("optimizer step", memory.update, 0, "fp32 gradients, without activations and logits"),
        ("peak", memory.total, host.total, "an estimate; allocator and kernels need more"),
    )
    return [
        (name, size(device), size(host), remark)
        for name, device, host, remark in rows
        if device or host
    ]


def longest_row_text(recipe: Recipe, facts: ModelFacts, plan: RunPlan, device: Device) -> str:
    """Longest row that fits on these devices: with the plan's savers and ZeRO stage, and with all savers."""
    workload, workers = _workload(recipe, plan), plan.workers[0]
    planned = longest_row(facts, workload, plan.zero_stage, workers, plan.precision, device.memory)
    if device.kind == "cpu":  # Offloading frees nothing there.
        return f"longest row  {planned:,} tokens with this plan"
    every = replace(workload, savers=_ALL, activation_checkpointing=True)
    most = longest_row(facts, every, 3, workers, plan.precision, device.memory)
    return f"longest row  {planned:,} tokens with this plan, {most:,} with all memory savers at ZeRO stage 3"


def _workload(recipe: Recipe, plan: RunPlan) -> Workload:
    longest = max(stage.length for stage in plan.stages)
    return Workload(
        longest,
        plan.micro_batch[longest],
        plan.activation_checkpointing,
        plan.loss_chunk,
        recipe.workers.sequence_parallel,
        plan.savers,
        plan.mlp_tile,
        plan.communication_data_type,
    )
