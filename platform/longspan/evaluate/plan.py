"""Plan of an evaluation as text: what is measured, at what cost, and how wide its intervals will be."""

from __future__ import annotations

from collections.abc import Sequence

from longspan.evaluate.combine import expected_half_width
from longspan.evaluate.cost import (
    ASSUMED_UTILIZATION,
    Cost,
    device_hours,
    loss_cost,
    probe_costs,
    total,
)
from longspan.evaluate.gate_coverage import gate_gaps
from longspan.evaluate.prepare import Prepared
from longspan.observe.tables import size, table
from longspan.observe.units import count
from longspan.plan.device import Device, this_machines_device
from longspan.plan.hardware import peak_tflops
from longspan.recipe.sources import find_objects

TYPICAL_SCORE = 0.9
"""Score for which the widths of intervals are stated."""


def plan_text(prepared: Prepared) -> str:
    """Return every derived value with its reason, the cost of each part, and the expected widths of intervals."""
    costs = costs_of(prepared)
    sources = [
        (source.name, f"{source.count:,}", size(source.bytes), f"{corpus.heldout_fraction:g}")
        for source, corpus in zip(
            find_objects(prepared.recipe, prepared.store), prepared.recipe.corpora, strict=True
        )
    ]
    parts = [
        f"Plan of evaluation {prepared.recipe.name!r}",
        table(_values(prepared)),
        table(sources, ("source", "objects", "bytes", "held out")),
        table([_row(cost) for cost in costs], ("part", "length", "samples", "tokens", "FLOPs")),
        _hours(costs[-1], this_machines_device()) + _not_estimated(prepared),
        _intervals(prepared),
        "\n".join(map(str, gate_gaps(prepared))),
        f"Goes to {prepared.store.uri(prepared.folder)}: report.html, results.json, samples",
    ]
    return "\n\n".join(part for part in parts if part)


def costs_of(prepared: Prepared) -> list[Cost]:
    """Return the cost of each task at all lengths together, and of losses, for all models together."""
    recipe, found = prepared.recipe, []
    for model in prepared.models:
        lengths = prepared.lengths_of(model)
        for task in prepared.tasks:
            of_task = total(probe_costs(model.facts, [task], lengths, recipe.probes.samples))
            found.append(_named(of_task, f"{model.key}: {task.name}"))
        if recipe.losses.documents:
            documents = recipe.losses.documents * len(recipe.corpora)
            window = min(prepared.window, model.facts.window)
            cost = loss_cost(model.facts, documents, recipe.losses.places, window)
            found.append(_named(cost, f"{model.key}: losses"))
    return [*found, total(found)]


def _values(prepared: Prepared) -> Sequence[tuple[str, str, str]]:
    recipe, model, reference = prepared.recipe, prepared.model, prepared.reference
    lengths = ", ".join(f"{length:,}" for length in prepared.lengths)
    stated = recipe.probes.lengths
    return [
        ("model", model.name, f"identity {model.identity[:8]}"),
        (
            "reference",
            reference.name if reference else "none",
            "compared on the same samples" if reference else "items that need one are not measured",
        ),
        (
            "window",
            f"{prepared.window:,}",
            "set in the recipe" if recipe.window else "the model's own",
        ),
        (
            "base_window",
            f"{prepared.base_window:,}",
            "set in the recipe" if recipe.base_window else "the shorter one of model and reference",
        ),
        (
            "template",
            prepared.template,
            "by the tokenizers" if recipe.template == "auto" else "set",
        ),
        ("probes.lengths", lengths, "set in the recipe" if stated else "doubling up to the window"),
    ]


def _named(cost: Cost, what: str) -> Cost:
    return Cost(what, cost.length, cost.samples, cost.tokens, cost.flops)


def _row(cost: Cost) -> tuple[str, ...]:
    length = "all" if cost.length is None else f"{cost.length:,}"
    return (cost.what, length, f"{cost.samples:,}", count(cost.tokens), f"{cost.flops:.2e}")


def _hours(cost: Cost, device: Device) -> str:
    peak = peak_tflops(device.name, "bf16" if device.bf16 else "fp32")
    if peak is None:
        device_name, peak = "NVIDIA H100 80GB HBM3", peak_tflops("h100", "bf16")
        assert peak is not None, "the H100 is listed"
        note = f" ({device.name} has no known peak)"
    else:
        device_name, note = device.name, ""
    hours = device_hours(cost.flops, peak)
    return (
        f"GPU-hours: {hours:.3g} of one {device_name} at {ASSUMED_UTILIZATION:.0%} of its peak of {peak:,.0f} "
        f"TFLOP/s{note}"
    )


def _not_estimated(prepared: Prepared) -> str:
    """Parts whose cost depends on data that is not read for a plan."""
    recipe = prepared.recipe
    parts = [f"suite {suite.name!r}" for suite in recipe.suites]
    parts += ["the choice of key tokens"] if recipe.losses.key_tokens else []
    return f"; without {', '.join(parts)}, which the plan does not estimate" if parts else ""


def _intervals(prepared: Prepared) -> str:
    samples = prepared.recipe.probes.samples
    if not prepared.tasks:
        return ""
    half = expected_half_width(samples, TYPICAL_SCORE)
    whole = expected_half_width(samples * len(prepared.tasks), TYPICAL_SCORE)
    return (
        f"Intervals: at a score of {TYPICAL_SCORE:.0%}, ±{half:.1%} for a task at one length ({samples:,} samples), "
        f"±{whole:.1%} for all tasks together; wider where samples share a document"
    )
