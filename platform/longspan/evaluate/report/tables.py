"""Tables of scores: by task and length, and by depth and length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from longspan.evaluate.report.numbers import anchor, percent, percent_interval, tokens
from longspan.evaluate.results import Cell, TaskResult
from longspan.evaluate.samples import Family

FAMILY_TITLES: dict[Family, str] = {
    "retrieval": "Literal recall",
    "tracing": "Tracing",
    "aggregation": "Aggregation",
    "association": "Beyond literal matching",
    "reasoning": "Reasoning over several facts",
    "documents": "Questions over paragraphs",
    "many_shot": "Many examples in the prompt",
    "own_documents": "Questions on own documents",
}
HEAT_STEPS = 10
"""Colors of a heat map are those of tenths of the score."""


@dataclass(frozen=True)
class ScoreCell:
    """One score as it is shown."""

    length: int
    value: float
    """-1 if no sample has a score."""
    score: str
    """Percent; "" if no sample has a score."""
    interval: str
    n: int
    passed: bool
    """Whether it is at least the task's threshold."""
    heat: int | None
    """Color, from 0 to `HEAT_STEPS`; None if no sample has a score."""
    ends: str
    """The interval without digits after the point."""
    not_scored: int
    """Prompts without a score."""
    counts: str
    """Counts of prompts without a score by reason, and of truncated replies; "" if there is none."""
    anchor: str
    """Id of its samples on the page."""


@dataclass(frozen=True)
class TaskRow:
    """One task's scores by length."""

    task: str
    anchor: str
    cells: tuple[ScoreCell | None, ...]
    """One for each length of the table."""
    effective: str
    """Effective length; "" if the task has no lengths."""
    conservative: str
    sort: int
    """Effective length in tokens, or 0."""
    threshold: str
    """Percent."""


@dataclass(frozen=True)
class FamilyRows:
    """Tasks that measure the same ability."""

    title: str
    rows: tuple[TaskRow, ...]


@dataclass(frozen=True)
class ScoreTable:
    """Scores of all tasks by length."""

    lengths: tuple[int, ...]
    families: tuple[FamilyRows, ...]


@dataclass(frozen=True)
class HeatRow:
    """One depth of a heat map."""

    depth: str
    """Percent of the context."""
    cells: tuple[ScoreCell | None, ...]


@dataclass(frozen=True)
class HeatMap:
    """Scores of one task by depth and length."""

    task: str
    lengths: tuple[int, ...]
    rows: tuple[HeatRow, ...]


def cell_anchor(task: str, length: int, depth: float | None) -> str:
    """Id of the samples of one cell."""
    return anchor("samples", task, length, "all" if depth is None else f"{1e4 * depth:.0f}")


def score_table(tasks: Sequence[TaskResult]) -> ScoreTable:
    """Scores of all depths together, tasks by family."""
    lengths = tuple(sorted({cell.length for task in tasks for cell in task.cells}))
    families = []
    for family in get_args(Family):
        rows = tuple(_task_row(task, lengths) for task in tasks if task.family == family)
        if rows:
            families.append(FamilyRows(FAMILY_TITLES[family], rows))
    return ScoreTable(lengths, tuple(families))


def heat_maps(tasks: Sequence[TaskResult]) -> list[HeatMap]:
    """One map for each task that has depths."""
    return [_heat_map(task) for task in tasks if any(c.depth is not None for c in task.cells)]


def _task_row(task: TaskResult, lengths: Sequence[int]) -> TaskRow:
    cells = {cell.length: cell for cell in task.cells if cell.depth is None}
    return TaskRow(
        task=task.task,
        anchor=anchor("task", task.task),
        cells=tuple(_shown(task, cells.get(length)) for length in lengths),
        effective=_effective(task, task.effective_length),
        conservative=_effective(task, task.effective_length_conservative),
        sort=task.effective_length or 0,
        threshold=percent(task.threshold),
    )


def _effective(task: TaskResult, length: int | None) -> str:
    if all(cell.length == 0 for cell in task.cells):
        return ""
    return "none" if length is None else tokens(length)


def _heat_map(task: TaskResult) -> HeatMap:
    placed = {(cell.depth, cell.length): cell for cell in task.cells if cell.depth is not None}
    lengths = tuple(sorted({length for _, length in placed}))
    depths = sorted({depth for depth, _ in placed if depth is not None})
    rows = tuple(
        HeatRow(
            depth=percent(depth, 0),
            cells=tuple(_shown(task, placed.get((depth, length))) for length in lengths),
        )
        for depth in depths
    )
    return HeatMap(task.task, lengths, rows)


def _shown(task: TaskResult, cell: Cell | None) -> ScoreCell | None:
    if cell is None:
        return None
    score = cell.score
    return ScoreCell(
        length=cell.length,
        value=-1.0 if score is None else score.value,
        score="" if score is None else percent(score.value),
        interval="" if score is None else percent_interval(score),
        n=0 if score is None else score.n,
        passed=score is not None and cell.length > 0 and score.value >= task.threshold,
        heat=None if score is None else round(HEAT_STEPS * min(1.0, max(0.0, score.value))),
        ends="" if score is None else f"{percent(score.low, 0)}-{percent(score.high, 0)}",
        not_scored=cell.over_length + cell.refused + cell.unanswered + cell.unmeasurable,
        counts=_counts(cell),
        anchor=cell_anchor(task.task, cell.length, cell.depth),
    )


def _counts(cell: Cell) -> str:
    counts = {
        "over length": cell.over_length,
        "refused": cell.refused,
        "unanswered": cell.unanswered,
        "unmeasurable": cell.unmeasurable,
        "truncated": cell.truncated,
    }
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
