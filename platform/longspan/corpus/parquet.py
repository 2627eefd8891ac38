"""Parquet: every row has a text column."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from longspan.corpus.bad_input import BadInput, not_text, undecodable, unreadable, without_field

BATCH_BYTES = 2**23
DAMAGE = (OSError, ValueError, pa.ArrowException)


def read(file: pa.NativeFile, object_path: str, text_field: str) -> Iterator[str | BadInput]:
    """The text of every row, read in batches of some megabytes."""
    whole = "the whole object"
    try:
        table = pq.ParquetFile(file, page_checksum_verification=True)
    except DAMAGE as error:
        yield unreadable(object_path, whole, error)
        return
    rows = table.metadata.num_rows
    if text_field not in table.schema_arrow.names:
        yield without_field(object_path, whole, text_field, table.schema_arrow.names)
    elif not rows:
        yield BadInput(object_path, whole, "empty", "it has 0 rows")
    else:
        yield from _rows(table, object_path, text_field)


def _rows(table: pq.ParquetFile, object_path: str, field: str) -> Iterator[str | BadInput]:
    number = 0
    batches = table.iter_batches(_batch_rows(table), columns=[field], use_threads=False)
    while True:
        try:
            batch = next(batches, None)
        except DAMAGE as error:
            yield unreadable(object_path, f"after row {number}", error)
            return
        if batch is None:
            return
        for value in _values(batch.column(0)):
            number += 1
            if isinstance(value, str):
                yield value
            elif isinstance(value, UnicodeDecodeError):
                yield undecodable(object_path, f"row {number}", value)
            else:
                yield not_text(object_path, f"row {number}", field, value)


def _values(column: pa.Array) -> list:
    """A column as Python values; text that is not UTF-8 becomes its UnicodeDecodeError."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
    try:
        if not binary:
            return column.to_pylist()
    except UnicodeDecodeError:
        column = column.view(pa.large_binary() if _is_large(column.type) else pa.binary())
    return [_decoded(value) for value in column.to_pylist()]


def _is_large(type: pa.DataType) -> bool:
    return pa.types.is_large_string(type)


def _decoded(value: bytes | None) -> str | UnicodeDecodeError | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError as error:
        return error


def _batch_rows(table: pq.ParquetFile) -> int:
    """Rows that take about `BATCH_BYTES`, so that a book per row does not fill the memory."""
    groups = [table.metadata.row_group(i) for i in range(table.metadata.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    return max(1, min(8192, BATCH_BYTES * table.metadata.num_rows // max(size, 1)))
