"""Records of replies, committed part by part: what is in the store is never asked for again.

A part is one Parquet object, so that it is there whole or not at all. Ray Data's own checkpoints
would do for a dataset written by one pipeline; these hold the replies as well, go through the store
like everything else, and can be read before a dataset begins.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from contextlib import suppress
from threading import Lock, Timer
from typing import Any

import pyarrow as pa

from longspan.generate.tables import read_table, read_with_ids, write_rows
from longspan.hashing import content_id
from longspan.storage import Store

PART_ROWS: int = 256
PART_SECONDS = 10.0


def read_parts(
    store: Store, folder: str, schema: pa.Schema, ids: Set[str] | None = None
) -> pa.Table:
    """Return records that are committed, each id once.

    Args:
        store: where they are.
        folder: of the parts.
        schema: columns to read.
        ids: of the records to return, of a folder that has many others; None: all of them.
    """
    paths = [item.path for item in store.list(f"{folder}/*.parquet")]
    tables = (
        read_table(store, path, schema.names)
        if ids is None
        else read_with_ids(store, path, schema.names, ids)
        for path in paths
    )
    table = pa.concat_tables([schema.empty_table(), *(each for each in tables if each is not None)])
    found = table.column("id").to_pylist()
    first = {id: number for number, id in reversed(list(enumerate(found)))}
    return table if len(first) == len(found) else table.take(sorted(first.values()))


class PartWriter:
    """Commits records as they come: `PART_ROWS` together, or those that there are after some seconds.

    Args:
        store: to write to.
        folder: of the parts.
        schema: columns of a record; others are not kept.
        seconds: longest time that a record is not committed; a thread commits it if no other record comes.
    """

    def __init__(
        self, store: Store, folder: str, schema: pa.Schema, seconds: float = PART_SECONDS
    ) -> None:
        self._store, self._folder, self._schema, self._seconds = store, folder, schema, seconds
        self._rows: list[dict[str, Any]] = []
        self._timer: Timer | None = None
        self._lock = Lock()

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add records."""
        with self._lock:
            self._rows += rows
            if len(self._rows) >= PART_ROWS:
                self._commit()
            elif self._rows and self._timer is None:
                self._timer = Timer(self._seconds, self._commit_late)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Commit what is not committed yet."""
        with self._lock:
            self._commit()

    def _commit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._rows:
            return
        name = content_id(sorted(row["id"] for row in self._rows))
        write_rows(self._store, f"{self._folder}/{name}.parquet", self._rows, self._schema)
        self._rows = []

    def _commit_late(self) -> None:
        # An error here reaches nobody; the records stay, and the next call meets it again.
        with self._lock, suppress(Exception):
            self._commit()
