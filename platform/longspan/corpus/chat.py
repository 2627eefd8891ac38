"""Conversations: every row of a Parquet or JSON-lines object, or of one JSON list, is one.

They come out as the one line of text that `Conversation.dumps` writes, whatever shape they had.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import pyarrow as pa

from longspan.chat.conversation import (
    FIELDS,
    SHAPES,
    NotAConversation,
    conversation,
    no_conversation,
)
from longspan.corpus import jsonl
from longspan.corpus.bad_input import BadInput, undecodable, unreadable
from longspan.corpus.filters import FILTERED_OUT, Filter, LeftOut, nearest
from longspan.corpus.parquet import DAMAGE, field_names
from longspan.corpus.wanted import missing, no_such_field, unknown_condition
from longspan.storage.bounds import MAX_DOCUMENT_BYTES, Readable, TooLarge
from longspan.storage.parquet import batch_rows, open_parquet

ROWS = 256
"""Rows of Parquet read at a time: each may hold a book."""

Item = str | LeftOut | BadInput
WHOLE = "the whole object"


def read_json(stream: Readable, object_path: str, filter: Filter) -> Iterator[Item]:
    """The conversations of JSON lines, or of an object that is one JSON list."""
    return _conversations(_json_rows(stream, object_path), object_path, filter)


def read_parquet(file: pa.NativeFile, object_path: str, filter: Filter) -> Iterator[Item]:
    """The conversations of a Parquet object's rows."""
    columns = [*FIELDS, *filter.fields]
    try:
        table = open_parquet(file, columns)
        rows = batch_rows(table, file, columns, ROWS)
    except DAMAGE as error:
        return iter([unreadable(object_path, WHOLE, error)])
    if bad := _unfit(table.schema_arrow, object_path, filter):
        return iter([bad])
    batches = table.iter_batches(rows, columns=columns, use_threads=False)
    return _conversations(_parquet_rows(batches, object_path), object_path, filter)


def _unfit(schema: pa.Schema, object_path: str, filter: Filter) -> BadInput | None:
    """Columns that the schema lacks."""
    if not any(name in SHAPES for name in schema.names):
        error = no_conversation(schema.names)
        return BadInput(object_path, WHOLE, error.reason, error.detail)
    names = field_names(schema)
    field = missing(filter.fields, names)
    return no_such_field(object_path, field, nearest(field, names)) if field else None


def _conversations(
    rows: Iterable[tuple[str, Any] | BadInput], object_path: str, filter: Filter
) -> Iterator[Item]:
    """What named rows hold."""
    found = 0
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
            yield _one(value, object_path, where)
    if not found:
        yield BadInput(object_path, WHOLE, "empty", "it has no rows")
    elif unknown := unknown_condition(filter, object_path):
        yield unknown


def _one(row: dict[str, Any], object_path: str, where: str) -> str | BadInput:
    try:
        return conversation(row).dumps()
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
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except DAMAGE as error:
        yield unreadable(object_path, f"after row {number}" if number else WHOLE, error)
