"""Parquet objects in the store, each written and read whole, with checksums of their pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from longspan.errors import UserError
from longspan.storage import Store
from longspan.storage.bounds import TooLarge
from longspan.storage.parquet import RefusedColumn, open_parquet


def write_rows(
    store: Store, path: str, rows: Sequence[dict[str, Any]], schema: pa.Schema, group: int = 1024
) -> None:
    """Write rows as one object, in row groups of `group`."""
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(list(rows), schema=schema)
    pq.write_table(table, sink, row_group_size=group, compression="zstd", write_page_checksum=True)
    store.write_bytes(path, sink.getvalue())


def read_table(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """An object as a table.

    Raises:
        UserError: it is not what `write_rows` wrote.
    """
    with _opened(store, path, columns) as file:
        return file.read(columns=list(columns) if columns else None)


def read_with_ids(
    store: Store, path: str, columns: Sequence[str], ids: Set[str]
) -> pa.Table | None:
    """Rows of an object whose column `id` is one of `ids`; None if there are none: no other column is read then.

    Raises:
        UserError: it is not what `write_rows` wrote.
    """
    with _opened(store, path, columns) as file:
        found = file.read(columns=["id"]).column("id").to_pylist()
        rows = [number for number, id in enumerate(found) if id in ids]
        return file.read(columns=list(columns)).take(rows) if rows else None


def each_row(store: Store, path: str) -> Iterable[dict[str, Any]]:
    """An object's rows, a row group in memory at a time.

    Raises:
        UserError: it is not what `write_rows` wrote.
    """
    with _opened(store, path) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group).to_pylist()


@contextmanager
def _opened(
    store: Store, path: str, columns: Sequence[str] | None = None
) -> Iterator[pq.ParquetFile]:
    with store.local(path) as copy, pa.OSFile(copy.path) as source:
        try:
            file = open_parquet(source, columns)
        except (RefusedColumn, TooLarge) as error:
            raise UserError(
                f"{store.uri(path)}: not written by this job: {error}; delete it and run the job again"
            ) from None
        yield file
