"""Every worker's record of the rows that it was given, written as the run goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from longspan.errors import UserError
from longspan.history.records import Facts, to_bytes
from longspan.storage import Store
from longspan.stream.batch import Batch
from longspan.stream.row import Row

ROWS_PER_FILE = 4096


@dataclass(frozen=True)
class Mark:
    """A place in what a rank has done: so many rows, and all updates before this one."""

    rows: int
    through: int


class HistoryLog:
    """Writes what one rank does in one start of a run.

    Rows are stored before the checkpoint that covers them (`flush`), so that what a later start
    goes on from is always on record. What a killed worker had not stored is done again by the next.

    Args:
        store: where to.
        path: the run's folder of histories.
        facts: of this start and rank.
        warn: told when the store does not take rows, which are then kept in memory.
    """

    def __init__(self, store: Store, path: str, facts: Facts, warn: Callable[[str], None]) -> None:
        self._store, self._facts, self._warn = store, facts, warn
        self._stem = f"{path}/{facts.start}/rank-{facts.rank:05d}"
        self._rows: list[tuple[int, Row]] = []
        self._through = facts.first_update
        self._added = self._stored = self._files = 0
        self._due = ROWS_PER_FILE
        self._lock = threading.Lock()

    def add(self, batch: Batch) -> None:
        """An update was done with these rows."""
        self._rows += [(batch.update, row) for row in batch.rows]
        self._added += len(batch.rows)
        self._through = batch.update + 1
        if len(self._rows) < self._due:
            return
        try:
            self.flush()
        except (OSError, UserError) as error:
            self._warn(f"the history is kept in memory until the store takes it: {error}")
            self._due = len(self._rows) + ROWS_PER_FILE

    def mark(self) -> Mark:
        """How far it is; another thread may store it so far while more is added."""
        return Mark(self._added, self._through)

    def flush(self, mark: Mark | None = None) -> None:
        """Store what is not stored yet, up to a mark or all of it.

        Raises:
            UserError: the store does not take it.
        """
        with self._lock:
            upto = mark or self.mark()
            number = max(0, upto.rows - self._stored)
            facts = replace(self._facts, through=upto.through)
            name = f"{self._stem}-{self._files:06d}.parquet"
            self._store.write_bytes(name, to_bytes(self._rows[:number], facts))
            del self._rows[:number]
            self._stored += number
            self._files += 1
            self._due = ROWS_PER_FILE
