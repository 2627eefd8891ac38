"""Conversations: every row of a Parquet or JSON-lines object, or of one JSON list, is one.

They come out as the one line of text that `Conversation.dumps` writes, whatever shape they had.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow as pa

from longspan.chat.conversation import FIELDS, SHAPES, conversation, no_conversation
from longspan.chat.turns import NotAConversation
from longspan.corpus import jsonl
from longspan.corpus.bad_input import BadInput, undecodable, unreadable
from longspan.corpus.columns import Unreadable, field_names, plain
from longspan.corpus.filters import FILTERED_OUT, Filter, LeftOut, nearest
from longspan.corpus.parquet import DAMAGE, repeated
from longspan.corpus.wanted import missing, no_such_field, unknown_condition
from longspan.storage.bounds import MAX_DOCUMENT_BYTES, Readable, TooLarge
from longspan.storage.parquet import open_parquet
from longspan.storage.parquet_batches import BUFFER_BYTES, read_batches

DENSE = {"messages", "conversations", "tools"}
"""Columns with objects of different fields."""

Item = str | LeftOut | BadInput
WHOLE = "the whole object"


@dataclass(frozen=True)
class Rows:
    """Selection of an object's rows and fields.

    Attributes:
        filter: passes the rows that are wanted; it has state, so it is of one object.
        ignored: fields of rows and turns to be left out.
    """

    filter: Filter = field(default_factory=Filter)
    ignored: frozenset[str] = frozenset()


def read_json(stream: Readable, object_path: str, wanted: Rows) -> Iterator[Item]:
    """The conversations of JSON lines, or of an object that is one JSON list."""
    return _conversations(_json_rows(stream, object_path), object_path, wanted)


def read_parquet(file: pa.NativeFile, object_path: str, wanted: Rows) -> Iterator[Item]:
    """The conversations of a Parquet object's rows."""
    own = [name for name in FIELDS if name not in wanted.ignored]
    columns = list(dict.fromkeys([*own, *wanted.filter.fields]))
    try:
        table = open_parquet(file, columns, BUFFER_BYTES)
        bad = _unfit(table.schema_arrow, object_path, wanted.filter, columns)
    except DAMAGE as error:
        return iter([unreadable(object_path, WHOLE, error)])
    if bad:
        return iter([bad])
    batches = read_batches(table, file, columns)
    return _conversations(_parquet_rows(batches, object_path), object_path, wanted)


def _unfit(
    schema: pa.Schema, object_path: str, filter: Filter, columns: list[str]
) -> BadInput | None:
    """Columns that the schema lacks, or has twice."""
    if not any(name in SHAPES for name in schema.names):
        error = no_conversation(schema.names)
        return BadInput(object_path, WHOLE, error.reason, error.detail)
    names = list(field_names(schema))
    if field := missing(filter.fields, names):
        return no_such_field(object_path, field, nearest(field, names))
    return repeated(names, columns, object_path)


def _conversations(
    rows: Iterable[tuple[str, Any] | BadInput], object_path: str, wanted: Rows
) -> Iterator[Item]:
    """What named rows hold."""
    filter, found = wanted.filter, 0
    for row in rows:
        found += 1
        if isinstance(row, BadInput):
            yield row
            continue
        where, value = row
        if not isinstance(value, dict):
            kind = type(value).__name__
            yield BadInput(object_path, where, "not a JSON object", f"it is a {kind}")
        elif filter and not filter.matches(value):
            yield LeftOut(FILTERED_OUT)
        else:
            yield _one(value, object_path, where, wanted.ignored)
    if not found:
        yield BadInput(object_path, WHOLE, "empty", "it has no rows")
    elif unknown := unknown_condition(filter, object_path):
        yield unknown


def _one(
    row: dict[str, Any], object_path: str, where: str, ignored: frozenset[str]
) -> str | BadInput:
    try:
        return conversation(row, ignored).dumps()
    except NotAConversation as error:
        return BadInput(object_path, where, error.reason, error.detail)


def _json_rows(stream: Readable, object_path: str) -> Iterator[tuple[str, Any] | BadInput]:
    parts = jsonl.lines(stream, object_path)
    first = next(parts, b"")
    if isinstance(first, bytes) and first.lstrip()[:1] == b"[":
        yield from _list(first, parts, object_path)
        return
    number = 0
    for part in chain([first] if first else [], parts):
        if isinstance(part, BadInput):
            yield part
            return
        for line in part.split(b"\n"):
            number += 1
            if line and not line.isspace():
                yield _parsed(line, object_path, f"line {number}")


def _list(
    first: bytes, parts: Iterator[bytes | BadInput], object_path: str
) -> Iterator[tuple[str, Any] | BadInput]:
    """One JSON list, read as a whole."""
    text, size = [first], len(first)
    for part in parts:
        if isinstance(part, BadInput):
            yield part
            return
        text.append(part)
        size += len(part)
        if size > MAX_DOCUMENT_BYTES:
            yield unreadable(object_path, WHOLE, _long_list())
            return
    found = _parsed(b"\n".join(text), object_path, WHOLE)
    if isinstance(found, BadInput):
        yield found
        return
    for number, row in enumerate(found[1], 1):
        yield f"item {number}", row


def _long_list() -> TooLarge:
    return TooLarge(
        f"one JSON list of more than {MAX_DOCUMENT_BYTES:,} bytes, which is read as a whole; write "
        "its items as JSON lines"
    )


def _parsed(text: bytes, object_path: str, where: str) -> tuple[str, Any] | BadInput:
    try:
        return where, json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        return undecodable(object_path, where, error)
    except (ValueError, RecursionError) as error:
        return BadInput(object_path, where, "not JSON", str(error))


def _parquet_rows(
    batches: Iterator[pa.RecordBatch], object_path: str
) -> Iterator[tuple[str, Any] | BadInput]:
    number = 0
    try:
        for batch in batches:
            columns = [_values(name, batch.column(name)) for name in batch.schema.names]
            for values in zip(*columns, strict=True):
                number += 1
                yield _named(batch.schema.names, values, object_path, f"row {number}")
    except DAMAGE as error:
        yield unreadable(object_path, f"after row {number}" if number else WHOLE, error)


def _named(
    names: Sequence[str], values: Sequence[Any], object_path: str, where: str
) -> tuple[str, Any] | BadInput:
    for value in values:
        if isinstance(value, Unreadable):
            return unreadable(object_path, where, value.error)
    return where, dict(zip(names, values, strict=True))


def _values(name: str, column: pa.Array) -> list[Any]:
    values = plain(column)
    return [_dense(value) for value in values] if name in DENSE and _has_nulls(column) else values


def _has_nulls(column: pa.Array) -> bool:
    """Whether there are nulls within a column's values."""
    if pa.types.is_struct(column.type):
        fields = (column.field(number) for number in range(column.type.num_fields))
        return any(field.null_count or _has_nulls(field) for field in fields)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return bool(column.values.null_count) or _has_nulls(column.values)
    return pa.types.is_nested(column.type)


def _dense(value: Any) -> Any:
    """A value without the nulls of structs, with which Parquet fills in what one of its rows lacks."""
    if isinstance(value, dict):
        return {name: _dense(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_dense(each) for each in value]
    return value
