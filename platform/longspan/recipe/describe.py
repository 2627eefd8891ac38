"""The plan as text: every value with its reason, what each source gives, and what the run costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longspan.plan.flops import training_flops
from longspan.plan.hardware import peak_tflops
from longspan.plan.memory import state_bytes
from longspan.recipe.describe_rows import RowSource, row_tables
from longspan.recipe.tables import count, shares, size, table

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts
    from longspan.recipe.derive import RunPlan
    from longspan.recipe.device import Device
    from longspan.recipe.schema import Recipe

ASSUMED_MFU = 0.4


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a source: exact once it is ingested, estimated from its size before."""

    name: str
    objects: int | None
    bytes: int | None
    documents: int | None
    tokens: int | None
    exact: bool


def describe(
    recipe: Recipe,
    facts: ModelFacts,
    plan: RunPlan,
    device: Device,
    sources: Sequence[SourceFacts],
    rows: Sequence[RowSource] = (),
) -> str:
    """The whole plan, ready to print; `rows` where all sources are ingested."""
    parts = [
        f"Plan of run {recipe.name!r}",
        table(_model_rows(recipe, facts, plan)),
        table(_value_rows(plan)),
        table(
            _stage_rows(plan),
            header=("length", "updates", "rows/update", "tokens/update", "micro-batch"),
        ),
        table(_source_rows(recipe, plan, sources), header=_SOURCE_HEADER),
        *row_tables(plan, rows),
        table(_cost_rows(facts, plan, device, sources)),
    ]
    parts += [f"Note: {note}" for note in plan.notes]
    return "\n\n".join(parts)


def _model_rows(recipe: Recipe, facts: ModelFacts, plan: RunPlan) -> list[tuple[str, ...]]:
    positions = plan.positions
    return [
        ("base model", recipe.base_model, f"{facts.parameters:,} parameters, {facts.model_type}"),
        ("window", f"{facts.window:,} -> {plan.window:,}", "target_context"),
        (
            "positions",
            positions.encoding,
            f"RoPE base {facts.rope_base:,.0f} -> {positions.base:,.0f}",
        ),
        ("document mask", "on" if recipe.packing.document_mask else "off", "packing.document_mask"),
        ("updates", f"{plan.updates:,}", f"{plan.tokens:,} tokens"),
    ]


def _value_rows(plan: RunPlan) -> list[tuple[str, ...]]:
    values: dict[str, Any] = {
        "positions.base": f"{plan.positions.base:,.0f}",
        "training.tokens": f"{plan.tokens:,}",
        "optimizer.learning_rate": f"{plan.learning_rate:g} -> {plan.final_learning_rate:g}",
        "optimizer.warmup_updates": plan.warmup_updates,
        "training.precision": plan.precision,
        "training.attention": plan.attention,
        "training.zero_stage": plan.zero_stage,
        "training.micro_batch": ", ".join(str(rows) for rows in plan.micro_batch.values()),
        "training.activation_checkpointing": plan.activation_checkpointing,
        "training.loss_chunk": plan.loss_chunk,
        "workers.gpus_per_worker": plan.gpus_per_worker,
        "workers.cpus_per_worker": plan.cpus_per_worker,
        "training.checkpoint_every": plan.checkpoint_every,
        "heldout.every": plan.heldout_every,
        "mixture.threshold": f"{plan.long_threshold:,}",
    }
    return [(key, str(value), plan.reasons[key]) for key, value in values.items()]


def _stage_rows(plan: RunPlan) -> list[tuple[str, ...]]:
    return [
        (
            f"{stage.length:,}",
            f"{stage.updates:,}",
            f"{stage.rows_per_update:,}",
            f"{stage.rows_per_update * stage.length:,}",
            str(plan.micro_batch[stage.length]),
        )
        for stage in plan.stages
    ]


_SOURCE_HEADER = (
    "source",
    "weight",
    "objects",
    "bytes",
    "documents",
    "tokens",
    "asked for",
    "repeats",
)


def _source_rows(
    recipe: Recipe, plan: RunPlan, sources: Sequence[SourceFacts]
) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for share, source in zip(shares(recipe.weights), sources, strict=True):
        asked = share * plan.tokens
        about = "" if source.exact else "~"
        rows.append(
            (
                source.name,
                f"{share:.2%}",
                count(source.objects),
                size(source.bytes),
                count(source.documents),
                about + count(source.tokens) if source.tokens else "unknown",
                f"{asked:,.0f}",
                f"{about}{asked / source.tokens:.2f} x" if source.tokens else "unknown",
            )
        )
    return rows


def _shards_row(sources: Sequence[SourceFacts]) -> tuple[str, ...]:
    known = [source.tokens for source in sources if source.tokens is not None]
    if len(known) < len(sources):
        return ("token shards", "unknown", "all sources whole; not all of their sizes are known")
    about = "" if all(source.exact for source in sources) else "~"
    return (
        "token shards",
        about + size(4 * sum(known)),
        "4 bytes a token before compression, all sources whole",
    )


def _cost_rows(
    facts: ModelFacts, plan: RunPlan, device: Device, sources: Sequence[SourceFacts]
) -> list[tuple[str, ...]]:
    flops = training_flops(facts, plan.stages)
    workers = plan.workers[0]
    states = state_bytes(facts.parameters, plan.zero_stage, workers, plan.precision)
    rows: list[tuple[str, ...]] = [
        (
            "operations",
            f"{flops.causal:.3g}",
            f"causal attention; {flops.full:.3g} when the whole matrix is counted",
        ),
        _shards_row(sources),
        (
            "a checkpoint",
            size(facts.parameters * (14 if plan.precision == "bf16" else 12)),
            "weights and optimizer, all workers",
        ),
        (
            "model states",
            size(states.total),
            f"per worker, {workers} workers, ZeRO {plan.zero_stage}",
        ),
        ("exported model", size(2 * facts.parameters), "bf16 safetensors"),
    ]
    peak = peak_tflops(device.name, plan.precision) if device.kind == "cuda" else None
    assumed = " (assumed: no GPU here)" if device.assumed else ""
    if peak:
        hours = flops.causal / (peak * 1e12 * ASSUMED_MFU) / 3600
        rows.append(
            (
                "device hours",
                f"{hours:,.0f}",
                f"{device.name}{assumed} at {ASSUMED_MFU:.0%} of {peak:g} TFLOP/s",
            )
        )
        rows.append(("time", f"{hours / workers:,.1f} h", f"on {workers} workers"))
    else:
        rows.append(("time", "unknown", f"no published peak for {device.name}"))
    return rows
