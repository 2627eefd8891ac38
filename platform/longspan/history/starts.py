"""The starts of a run, and which of them each update of the run was done by."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from longspan.errors import UserError
from longspan.history.records import Facts, Rows, read
from longspan.storage import Store

FOLDER = "history"
THREADS = 8


@dataclass(frozen=True)
class Start:
    """One start of a run: what all its workers recorded.

    Attributes:
        facts: what they have in common (`rank` and `through` are those of one of them).
        through: every worker's record reaches up to this update, which is not in it any more.
        rows: all rows recorded, sorted by update and row number.
    """

    facts: Facts
    through: int
    rows: Rows


@dataclass(frozen=True)
class Lineage:
    """A run's starts, the earliest first; each took over from the one before at its first update."""

    starts: tuple[Start, ...]

    def taken_over(self, number: int) -> int | None:
        """The update at which a later start took over from this one; None where none did."""
        return min((start.facts.first_update for start in self.starts[number + 1 :]), default=None)

    def counting(self, number: int) -> Rows:
        """The rows of a start that count: not done again by a later one, and of whole updates."""
        start, end = self.starts[number], self.taken_over(number)
        end = start.through if end is None else min(end, start.through)
        return start.rows.select(start.rows.updates < end)

    def done_again(self, number: int) -> Rows:
        """The rows of a start that a later one did again."""
        start, end = self.starts[number], self.taken_over(number)
        none = np.zeros(len(start.rows), bool)
        return start.rows.select(none if end is None else start.rows.updates >= end)


def read_history(store: Store) -> Lineage:
    """The history of the run whose folder is the store's root.

    Raises:
        UserError: there is none, or a file of it is damaged.
    """
    paths = [item.path for item in store.list(f"{FOLDER}/*/*.parquet")]
    if not paths:
        raise UserError(
            f"{store.uri(FOLDER)}: there is no history; name the folder of a run, such as "
            ".longspan/store/runs/quickstart"
        )
    with ThreadPoolExecutor(THREADS) as pool:
        parts = list(pool.map(lambda path: read(store, path), paths))
    by_start: dict[str, list[tuple[Facts, Rows]]] = defaultdict(list)
    for facts, rows in parts:
        by_start[facts.start].append((facts, rows))
    return Lineage(tuple(_start(by_start[name]) for name in sorted(by_start)))


def _start(parts: list[tuple[Facts, Rows]]) -> Start:
    facts = parts[0][0]
    through = dict.fromkeys(range(facts.world_size), facts.first_update)
    for part, _ in parts:
        through[part.rank] = max(through[part.rank], part.through)
    rows = Rows.joined([rows for _, rows in parts])
    rows = rows.select(np.lexsort((rows.indices, rows.updates)))
    return Start(facts, min(through.values()), rows)
