"""Cells of results that the gate looks at: those within the window, by task and length."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from longspan.evaluate.combine import Interval, mean_interval
from longspan.evaluate.results import Cell, Estimate, Results
from longspan.evaluate.samples import Family


@dataclass(frozen=True)
class Cells:
    """Cells of some tasks within the window, as (task, cell), all depths together."""

    cells: tuple[tuple[str, Cell], ...]

    @classmethod
    def of(cls, results: Results, families: Collection[Family]) -> Cells:
        """Return the cells of families of tasks; lengths beyond the window are left out."""
        return cls(
            tuple(
                (task.task, cell)
                for task in results.tasks
                if task.family in families
                for cell in task.cells
                if cell.depth is None and cell.length <= results.model.window
            )
        )

    def without(self, suffix: str) -> Cells:
        """Return the cells of tasks whose name does not end so."""
        return Cells(tuple(each for each in self.cells if not each[0].endswith(suffix)))

    @property
    def lengths(self) -> list[int]:
        """Lengths with scores, rising."""
        return sorted({cell.length for _, cell in self.cells if cell.score is not None})

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
