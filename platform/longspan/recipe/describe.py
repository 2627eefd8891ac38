"""The plan as text: every value with its reason, what each source gives, and what the run costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from longspan.config.locations import local_path
from longspan.observe.tables import count, size, table
from longspan.plan.flops import training_flops
from longspan.plan.hardware import peak_tflops
from longspan.plan.memory import state_bytes
from longspan.recipe.describe_memory import MEMORY_HEADER, longest_row_text, memory_rows
from longspan.recipe.describe_rows import RowSource, row_tables
from longspan.recipe.repeats import SourceFacts, repeat_notes
from longspan.recipe.shares import shares

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts
    from longspan.plan.device import Device
    from longspan.recipe.derive import RunPlan
    from longspan.recipe.schema import Recipe

ASSUMED_MFU = 0.4
UNKNOWN = "unknown"


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
        *_memory_parts(recipe, facts, plan, device),
    ]
    notes = [*plan.notes, *repeat_notes(recipe, plan, sources)]
    parts += [f"Note: {note}" for note in notes]
    return "\n\n".join(parts)


def _memory_parts(recipe: Recipe, facts: ModelFacts, plan: RunPlan, device: Device) -> list[str]:
    """A worker's memory and the longest row, or nothing where the rows of a forward pass are unknown."""
    if "training.micro_batch" in plan.unknown:
        return []
    return [
        table(memory_rows(recipe, facts, plan, device), header=MEMORY_HEADER),
        longest_row_text(recipe, facts, plan, device),
    ]


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
        ("storage", local_path(recipe.storage.root), "storage.root"),
        ("document mask", "on" if recipe.packing.document_mask else "off", "packing.document_mask"),
        (
            "sequence parallel",
            f"{recipe.workers.sequence_parallel}",
            "workers that share a row (workers.sequence_parallel)",
        ),
        ("updates", *_updates(plan)),
    ]


def _updates(plan: RunPlan) -> tuple[str, str]:
    if "training.tokens" in plan.unknown:
        return UNKNOWN, plan.reasons["training.tokens"]
    return f"{plan.updates:,}", f"{plan.tokens:,} tokens"


def _value_rows(plan: RunPlan) -> list[tuple[str, ...]]:
    values: dict[str, Any] = {
        "positions.base": f"{plan.positions.base:,.0f}",
        "training.tokens": f"{plan.tokens:,}",
        "training.tokens_per_update": f"{plan.stages[0].rows_per_update * plan.stages[0].length:,}",
        "optimizer.learning_rate": f"{plan.learning_rate:g} -> {plan.final_learning_rate:g}",
        "optimizer.warmup_updates": plan.warmup_updates,
        "training.precision": plan.precision,
        "training.communication_data_type": plan.communication_data_type,
        "training.attention": plan.attention,
        "training.kernels": plan.kernels,
        "training.zero_stage": plan.zero_stage,
        "training.micro_batch": ", ".join(str(rows) for rows in plan.micro_batch.values()),
        "training.activation_checkpointing": plan.activation_checkpointing,
        "training.headwise_attention": plan.savers.headwise_attention,
        "training.tiled_mlp": plan.savers.tiled_mlp,
        "training.mlp_tile": f"{plan.mlp_tile:,}" if plan.savers.tiled_mlp else "unused",
        "training.offload_activations": plan.savers.offload_activations,
        "training.offload_optimizer": plan.savers.offload_optimizer,
        "training.offload_parameters": plan.savers.offload_parameters,
        "training.loss_chunk": plan.loss_chunk,
        "workers.gpus_per_worker": plan.gpus_per_worker,
        "workers.cpus_per_worker": plan.cpus_per_worker,
        "training.checkpoint_every": plan.checkpoint_every,
        "heldout.every": plan.heldout_every,
        "mixture.threshold": f"{plan.long_threshold:,}",
    }
    return [
        (key, UNKNOWN if key in plan.unknown else str(value), plan.reasons[key])
        for key, value in values.items()
    ]


def _stage_rows(plan: RunPlan) -> list[tuple[str, ...]]:
    def shown(key: str, value: int) -> str:
        return UNKNOWN if key in plan.unknown else f"{value:,}"

    update, micro = "training.tokens_per_update", "training.micro_batch"
    return [
        (
            f"{stage.length:,}",
            shown("training.tokens", stage.updates),
            shown(update, stage.rows_per_update),
            shown(update, stage.rows_per_update * stage.length),
            shown(micro, plan.micro_batch[stage.length]),
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
    known, rounded = recipe.known_weights, shares(recipe.weights)
    for weight, share, source in zip(known, rounded, sources, strict=True):
        asked = None if weight is None or "training.tokens" in plan.unknown else share * plan.tokens
        about = "" if source.exact else "~"
        repeats = asked / source.tokens if asked is not None and source.tokens else None
        rows.append(
            (
                source.name,
                UNKNOWN if weight is None else f"{share:.2%}",
                count(source.objects),
                size(source.bytes),
                count(source.documents),
                about + count(source.tokens) if source.tokens else UNKNOWN,
                UNKNOWN if asked is None else f"{asked:,.0f}",
                UNKNOWN if repeats is None else f"{about}{repeats:.2f} x",
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
    workers = plan.workers[0]
    states = state_bytes(facts.parameters, plan.zero_stage, workers, plan.precision)
    rows: list[tuple[str, ...]] = [
        _shards_row(sources),
        (
            "a checkpoint",
            size(facts.parameters * (14 if plan.precision == "bf16" else 12)),
            "weights and optimizer, all workers",
        ),
        (
            "model states",
            size(states.total),
            f"per worker, device and host together, {workers} workers, ZeRO {plan.zero_stage}",
        ),
        ("exported model", size(2 * facts.parameters), "bf16 safetensors"),
    ]
    return [*rows, *_work_rows(facts, plan, device)]


def _work_rows(facts: ModelFacts, plan: RunPlan, device: Device) -> list[tuple[str, ...]]:
    """Operations and time, which follow from the run's length."""
    if "training.tokens" in plan.unknown:
        return [("time", UNKNOWN, "the number of updates is unknown")]
    flops, workers = training_flops(facts, plan.stages), plan.workers[0]
    how = f"causal attention; {flops.full:.3g} when the whole matrix is counted"
    rows: list[tuple[str, ...]] = [("operations", f"{flops.causal:.3g}", how)]
    peak = peak_tflops(device.name, plan.precision) if device.kind == "cuda" else None
    if not peak:
        return [*rows, ("time", UNKNOWN, f"no published peak for {device.name}")]
    assumed = " (assumed: no GPU here)" if device.assumed else ""
    hours = flops.causal / (peak * 1e12 * ASSUMED_MFU) / 3600
    at = f"{device.name}{assumed} at {ASSUMED_MFU:.0%} of {peak:g} TFLOP/s"
    return [
        *rows,
        ("device hours", f"{hours:,.0f}", at),
        ("time", f"{hours / workers:,.1f} h", f"on {workers} workers"),
    ]
