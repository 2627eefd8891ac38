"""Parquet: every row has a text column."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from longspan.corpus.bad_input import (
    BadInput,
    no_field,
    not_text,
    undecodable,
    unreadable,
    without_field,
)
from longspan.corpus.filters import FILTERED_OUT, LeftOut, Row, nearest
from longspan.corpus.wanted import File, Wanted, missing, no_such_field
from longspan.storage.parquet import batch_rows, open_parquet

BATCH_BYTES = 2**23
DAMAGE = (OSError, ValueError, pa.ArrowException)

Item = str | File | LeftOut | BadInput


def read(file: pa.NativeFile, object_path: str, wanted: Wanted) -> Iterator[Item]:
    """What is wanted of every row, read in batches of some megabytes."""
    whole = "the whole object"
    columns = _columns(wanted)
    try:
        table = open_parquet(file, columns)
        rows = batch_rows(table, file, columns, _rows_of_batch(table))
    except DAMAGE as error:
        yield unreadable(object_path, whole, error)
        return
    if bad := _unfit(table.schema_arrow, object_path, wanted):
        yield bad
    elif not table.metadata.num_rows:
        yield BadInput(object_path, whole, "empty", "it has 0 rows")
    else:
        yield from _rows(
            table.iter_batches(rows, columns=columns, use_threads=False), object_path, wanted
        )


def _unfit(schema: pa.Schema, object_path: str, wanted: Wanted) -> BadInput | None:
    """Columns that the schema lacks."""
    whole, names = "the whole object", field_names(schema)
    if wanted.text not in schema.names:
        return without_field(object_path, whole, wanted.text, schema.names)
    if field := missing(wanted.filter.fields, names):
        return no_such_field(object_path, field, nearest(field, names))
    if field := missing(wanted.file or (), names):
        return no_field(object_path, whole, "no repository field", field, schema.names)
    return None


def _columns(wanted: Wanted) -> list[str]:
    return list(dict.fromkeys([wanted.text, *_others(wanted)]))


def _others(wanted: Wanted) -> list[str]:
    """The columns besides the text."""
    return [*wanted.filter.fields, *(wanted.file or ())]


def _rows(batches: Iterator[pa.RecordBatch], object_path: str, wanted: Wanted) -> Iterator[Item]:
    number = 0
    others = _others(wanted)
    while True:
        try:
            batch = next(batches, None)
        except DAMAGE as error:
            yield unreadable(object_path, f"after row {number}", error)
            return
        if batch is None:
            return
        yield from _items(batch, others, object_path, number, wanted)
        number += batch.num_rows


def _items(
    batch: pa.RecordBatch, others: list[str], object_path: str, before: int, wanted: Wanted
) -> Iterator[Item]:
    """What a batch gives, whose rows follow `before` others."""
    rows = _fields(batch, others) if others else None
    texts = batch.column(wanted.text)
    numbers = range(batch.num_rows)
    if rows and wanted.filter:
        numbers = [number for number in numbers if wanted.filter.matches(rows[number])]
        if left_out := batch.num_rows - len(numbers):
            # Only the texts that are wanted become Python's.
            texts = texts.take(pa.array(numbers, pa.int64()))
            yield LeftOut(FILTERED_OUT, left_out)
    for number, value in zip(numbers, _values(texts), strict=True):
        if isinstance(value, str):
            where = f"row {before + number + 1}"
            yield wanted.of(rows[number], value, object_path, where) if rows else value
        elif isinstance(value, UnicodeDecodeError):
            yield undecodable(object_path, f"row {before + number + 1}", value)
        else:
            yield not_text(object_path, f"row {before + number + 1}", wanted.text, value)


def _fields(batch: pa.RecordBatch, wanted: list[str]) -> list[Row]:
    """The rows' values of some fields, within others those are in."""
    roots = {name.split(".")[0] for name in wanted}
    names = [name for name in batch.schema.names if name in roots or name in wanted]
    columns = [_plain(batch.column(name)) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _plain(column: pa.Array) -> list:
    """A column as Python values; what is no text although its type says so becomes null."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_plain_value(value) for value in column]


def _plain_value(value: pa.Scalar) -> object:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return None


def field_names(schema: pa.Schema) -> list[str]:
    """All fields, those within others with dots."""

    def below(field: pa.Field, name: str) -> Iterator[str]:
        yield name
        if pa.types.is_struct(field.type):
            for inner in field.type:
                yield from below(inner, f"{name}.{inner.name}")

    return [name for field in schema for name in below(field, field.name)]


def _values(column: pa.Array) -> list:
    """A column as Python values; text that is not UTF-8 becomes its UnicodeDecodeError."""
    if isinstance(column, pa.ExtensionArray):  # arrow.json, say.
        column = column.storage
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


def _rows_of_batch(table: pq.ParquetFile) -> int:
    """Rows that take about `BATCH_BYTES`, so that a book per row does not fill the memory."""
    groups = [table.metadata.row_group(i) for i in range(table.metadata.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    return max(1, min(8192, BATCH_BYTES * table.metadata.num_rows // max(size, 1)))
