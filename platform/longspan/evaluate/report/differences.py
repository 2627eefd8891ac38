"""Table of paired differences, with an interval drawn in each row (a forest plot)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from longspan.evaluate.report.numbers import points, signed_percent, tokens
from longspan.evaluate.results import Comparison, LossChange, PairedDifference

HALF_WIDTH = 100.0
"""Units of the drawing on either side of zero."""
Direction = Literal["better", "worse", "no difference found"]


@dataclass(frozen=True)
class ForestRow:
    """One paired difference as it is shown; positions are in units of the drawing, 0 is no difference."""

    task: str
    length: int | None
    length_text: str
    difference: str
    interval: str
    value: float
    n: int
    clusters: int
    record: str
    """Wins, ties and losses."""
    left_out: int
    detectable: str
    direction: Direction
    at: str
    low: str
    high: str


@dataclass(frozen=True)
class Forest:
    """All paired differences on one scale."""

    model: str
    reference: str
    limit: str
    """Points at either end of the drawing."""
    rows: tuple[ForestRow, ...]
    losses: tuple[LossRow, ...]


@dataclass(frozen=True)
class LossRow:
    """Relative change of the loss at one context, in percent."""

    corpus: str
    context: int
    change: str
    interval: str
    documents: int


def forest(comparison: Comparison) -> Forest:
    """Rows of a comparison, on a scale that holds every interval."""
    widest = max(
        (abs(end) for d in comparison.differences for end in (d.difference.low, d.difference.high)),
        default=0.0,
    )
    limit = next((step / 100 for step in (1, 2, 5, 10, 20, 50) if 100 * widest <= step), 1.0)
    rows = tuple(_row(difference, limit) for difference in comparison.differences)
    losses = tuple(_loss_row(change) for change in comparison.loss_changes)
    return Forest(comparison.model, comparison.reference, f"{100 * limit:g}", rows, losses)


def direction(difference: PairedDifference) -> Direction:
    """Return "better" or "worse" if the interval excludes zero."""
    if difference.difference.low > 0:
        return "better"
    return "worse" if difference.difference.high < 0 else "no difference found"


def _row(paired: PairedDifference, limit: float) -> ForestRow:
    estimate = paired.difference

    def place(value: float) -> str:
        return f"{HALF_WIDTH * max(-1.0, min(1.0, value / limit)):.1f}"

    return ForestRow(
        task=paired.task,
        length=paired.length,
        length_text="all" if paired.length is None else tokens(paired.length),
        difference=points(estimate.value),
        interval=f"{points(estimate.low)} to {points(estimate.high)}",
        value=estimate.value,
        n=estimate.n,
        clusters=estimate.clusters,
        record=f"{paired.wins:,} / {paired.ties:,} / {paired.losses:,}",
        left_out=paired.left_out,
        detectable=f"{100 * paired.minimum_detectable:.1f}",
        direction=direction(paired),
        at=place(estimate.value),
        low=place(estimate.low),
        high=place(estimate.high),
    )


def _loss_row(change: LossChange) -> LossRow:
    estimate = change.change
    return LossRow(
        corpus=change.corpus or "all corpora",
        context=change.context,
        change=signed_percent(estimate.value),
        interval=f"{signed_percent(estimate.low)} to {signed_percent(estimate.high)}",
        documents=estimate.clusters,
    )
