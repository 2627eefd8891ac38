"""Parquet: every row has a text column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

import pyarrow as pa

from longspan.corpus.bad_input import (
    BadInput,
    no_field,
    not_text,
    undecodable,
    unreadable,
    without_field,
)
from longspan.corpus.columns import Unreadable, chosen, field_names, field_of, plain, texts
from longspan.corpus.filters import FILTERED_OUT, LeftOut, Row, nearest
from longspan.corpus.wanted import File, RowSelector, missing, no_such_field
from longspan.storage.bounds import MAX_DOCUMENT_BYTES, TooLarge
from longspan.storage.parquet import open_parquet
from longspan.storage.parquet_batches import BUFFER_BYTES, read_batches

DAMAGE = (OSError, ValueError, pa.ArrowException)
WHOLE = "the whole object"

Item = str | File | LeftOut | BadInput


def read(file: pa.NativeFile, object_path: str, wanted: RowSelector) -> Iterator[Item]:
    """What is wanted of every row, read in batches of some megabytes."""
    columns = _columns(wanted)
    try:
        table = open_parquet(file, columns, BUFFER_BYTES)
        bad = unfit(table.schema_arrow, object_path, wanted)
    except DAMAGE as error:
        yield unreadable(object_path, WHOLE, error)
        return
    if bad:
        yield bad
    elif not table.metadata.num_rows:
        yield BadInput(object_path, WHOLE, "empty", "it has 0 rows")
    else:
        yield from _rows(read_batches(table, file, columns), object_path, wanted)


def unfit(schema: pa.Schema, object_path: str, wanted: RowSelector) -> BadInput | None:
    """Columns that the schema lacks, or has twice."""
    names = list(field_names(schema))
    if wanted.text not in names:
        return without_field(object_path, WHOLE, wanted.text, schema.names)
    if field := missing(wanted.filter.fields, names):
        return no_such_field(object_path, field, nearest(field, names))
    if field := missing(wanted.file or (), names):
        return no_field(object_path, WHOLE, "no repository field", field, schema.names)
    return repeated(names, _columns(wanted), object_path)


def repeated(names: list[str], wanted: list[str], object_path: str) -> BadInput | None:
    """Bad input if an object has a wanted field twice, else None."""
    counts = Counter(names)
    for name in wanted:
        if counts[name] > 1:
            detail = f"it has {counts[name]} fields called {name!r}; rename all but one"
            return BadInput(object_path, WHOLE, "repeated field", detail)
    return None


def _columns(wanted: RowSelector) -> list[str]:
    return list(dict.fromkeys([wanted.text, *_others(wanted)]))


def _others(wanted: RowSelector) -> list[str]:
    """The columns besides the text."""
    return [*wanted.filter.fields, *(wanted.file or ())]


def _rows(
    batches: Iterator[pa.RecordBatch], object_path: str, wanted: RowSelector
) -> Iterator[Item]:
    number = 0
    others = _others(wanted)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            found = list(_items(batch, others, object_path, number, wanted))
        except DAMAGE as error:
            yield unreadable(object_path, f"after row {number}" if number else WHOLE, error)
            return
        yield from found
        number += batch.num_rows


def _items(
    batch: pa.RecordBatch, others: list[str], object_path: str, before: int, wanted: RowSelector
) -> Iterator[Item]:
    """What a batch gives, whose rows follow `before` others."""
    rows = _fields(batch, others) if others else None
    column = field_of(batch, wanted.text)
    numbers: Sequence[int] = range(batch.num_rows)
    if rows:
        bad = {number: error for number, row in enumerate(rows) if (error := _error_in(row))}
        for number, error in bad.items():
            yield unreadable(object_path, f"row {before + number + 1}", error)
        readable = [number for number in numbers if number not in bad]
        numbers = [number for number in readable if wanted.filter.matches(rows[number])]
        if left_out := len(readable) - len(numbers):
            yield LeftOut(FILTERED_OUT, left_out)
        # Only the texts that are wanted become Python's.
        values = chain.from_iterable(texts(part) for part in chosen(column, numbers))
    else:
        values = texts(column)
    for number, value in zip(numbers, values, strict=True):
        if isinstance(value, str) and len(value) > MAX_DOCUMENT_BYTES:
            yield unreadable(object_path, f"row {before + number + 1}", _long_text())
        elif isinstance(value, str):
            where = f"row {before + number + 1}"
            yield wanted.of(rows[number], value, object_path, where) if rows else value
        elif isinstance(value, UnicodeDecodeError):
            yield undecodable(object_path, f"row {before + number + 1}", value)
        elif isinstance(value, Unreadable):
            yield unreadable(object_path, f"row {before + number + 1}", value.error)
        else:
            yield not_text(object_path, f"row {before + number + 1}", wanted.text, value)


def _long_text() -> TooLarge:
    return TooLarge(
        f"one text of more than {MAX_DOCUMENT_BYTES:,} bytes; split it into several rows"
    )


def _error_in(row: Row) -> Exception | None:
    return next((each.error for each in row.values() if isinstance(each, Unreadable)), None)


def _fields(batch: pa.RecordBatch, wanted: list[str]) -> list[Row]:
    """The rows' values of some fields, within others those are in."""
    roots = {name.split(".")[0] for name in wanted}
    names = [name for name in batch.schema.names if name in roots or name in wanted]
    columns = [plain(batch.column(name)) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
