"""Cost of an evaluation before it starts: tokens, floating-point operations, and hours on a device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from longspan.evaluate.samples import Task
from longspan.model.facts import ModelFacts
from longspan.plan.flops import packed_flops

ASSUMED_UTILIZATION = 0.4
"""Share of a device's peak that is used, between prefill (more) and decoding (less)."""


@dataclass(frozen=True)
class Cost:
    """Work of one part of an evaluation.

    Attributes:
        what: name of the part.
        length: tokens of prompt and answer; None for work of several lengths.
        samples: prompts, or documents.
        tokens: of prompts and answers, at most.
        flops: floating-point operations of the forward passes, attention counted causally.
    """

    what: str
    length: int | None
    samples: int
    tokens: int
    flops: float


def forward_flops(facts: ModelFacts, lengths: Iterable[int]) -> float:
    """Return the operations of forward passes over rows of these lengths: a third of those of training."""
    lengths = list(lengths)
    return packed_flops(facts, sum(lengths), sum(length * length for length in lengths)) / 3


def probe_costs(
    facts: ModelFacts, tasks: Sequence[Task], lengths: Sequence[int], samples: int
) -> list[Cost]:
    """Return the cost of each task at each length, as if every answer were as long as it may be."""
    row = {length: forward_flops(facts, [length]) for length in lengths}
    return [
        Cost(task.name, length, samples, samples * length, samples * row[length])
        for task in tasks
        for length in lengths
    ]


def loss_cost(facts: ModelFacts, documents: int, places: int, window: int) -> Cost:
    """Return the cost of losses: rows of all contexts (two windows in all) and of the swapped one, for each place."""
    rows = documents * places
    tokens = rows * 3 * window + documents * window
    flops = rows * forward_flops(facts, [window, window, window // 2, window // 4])
    flops += documents * forward_flops(facts, [window])
    return Cost("losses", None, documents, tokens, flops)


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum of some costs."""
    costs = list(costs)
    return Cost(
        "all",
        None,
        sum(cost.samples for cost in costs),
        sum(cost.tokens for cost in costs),
        sum(cost.flops for cost in costs),
    )


def device_hours(flops: float, peak_tflops: float) -> float:
    """Return the hours of one device, at `ASSUMED_UTILIZATION` of its peak."""
    return flops / (peak_tflops * 1e12 * ASSUMED_UTILIZATION) / 3600
