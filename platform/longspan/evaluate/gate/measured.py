"""Cells of results that the gate looks at: those within the window, by task and length.

Length 0 is that of prompts without any context around the evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from longspan.evaluate.combine import Interval, mean_interval
from longspan.evaluate.gate.findings import Finding, unknown
from longspan.evaluate.gate.thresholds import Thresholds
from longspan.evaluate.results import Cell, Estimate, Results, TaskResult
from longspan.evaluate.samples import CLOSED_BOOK, Family


@dataclass(frozen=True)
class Cells:
    """Cells of some tasks within the window, as (task, cell), all depths together."""

    cells: tuple[tuple[str, Cell], ...]

    @classmethod
    def of(cls, results: Results, families: Collection[Family]) -> Cells:
        """Return the cells of families of tasks; lengths beyond the window are left out."""
        return cls.where(results, lambda task: task.family in families)

    @classmethod
    def where(cls, results: Results, is_wanted: Callable[[TaskResult], bool]) -> Cells:
        """Return the cells of some tasks; lengths beyond the window are left out."""
        return cls(
            tuple(
                (task.task, cell)
                for task in results.tasks
                if is_wanted(task)
                for cell in task.cells
                if cell.depth is None and cell.length <= results.model.window
            )
        )

    def open_book(self) -> Cells:
        """Return the cells without those of controls."""
        return Cells(tuple(each for each in self.cells if not each[0].endswith(CLOSED_BOOK)))

    @property
    def lengths(self) -> list[int]:
        """Lengths with scores, rising."""
        return sorted({cell.length for _, cell in self.cells if cell.score is not None})

    def missing(self, length: int) -> list[str]:
        """Tasks without a score at a length that have one at another, in the order of the results."""
        scored = dict.fromkeys(task for task, cell in self.cells if cell.score is not None)
        return [task for task in scored if task not in self.scores(length)]

    def scores(self, length: int) -> dict[str, Estimate]:
        """Scores at a length by task."""
        return {
            task: cell.score
            for task, cell in self.cells
            if cell.length == length and cell.score is not None
        }


def mean_score(scores: Mapping[str, Estimate], tasks: Collection[str]) -> Interval:
    """Mean over tasks, each with the same weight; their samples are taken as independent."""
    return mean_interval([scores[task] for task in sorted(tasks)])


def gap(cells: Cells, length: int, threshold: float) -> list[Finding]:
    """Return a finding if a length lacks scores of tasks that other lengths have: its mean is one of other tasks."""
    missing = cells.missing(length)
    if not missing:
        return []
    names = ", ".join(missing)
    case = f"at {length:,} there is no score of {names}: leave the length out, or the task"
    return [unknown(threshold, case)]


def unmeasurable(cells: Cells, threshold: float) -> list[Finding]:
    """Return a finding for each cell that lacks samples: its score is of those that could be made."""
    return [
        unknown(
            threshold,
            f"{task} at {cell.length:,}: {cell.unmeasurable:,} samples can't be made; give more text, or leave the "
            "length out",
        )
        for task, cell in cells.cells
        if cell.unmeasurable
    ]


def not_reached(
    cells: Cells, results: Results, thresholds: Thresholds, threshold: float
) -> list[Finding]:
    """Return a finding if there are scores, but not up to the window."""
    window = results.model.window
    if not cells.lengths or cells.lengths[-1] >= thresholds.reach * window:
        return []
    case = f"the longest length is {cells.lengths[-1]:,} of a window of {window:,} tokens"
    return [unknown(threshold, case)]
