"""Conversations: every row of a Parquet or JSON-lines object, or of one JSON list, is one.

They come out as the one line of text that `Conversation.dumps` writes, whatever shape they had.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from longspan.chat.conversation import NotAConversation, conversation
from longspan.corpus import jsonl
from longspan.corpus.bad_input import BadInput, undecodable, unreadable
from longspan.corpus.filters import FILTERED_OUT, Filter, LeftOut
from longspan.corpus.parquet import DAMAGE
from longspan.corpus.wanted import unknown_condition

ROWS = 256
"""Rows of Parquet read at a time: each may hold a book."""

Item = str | LeftOut | BadInput
WHOLE = "the whole object"


def read_json(stream: pa.NativeFile, object_path: str, filter: Filter) -> Iterator[Item]:
    """The conversations of JSON lines, or of an object that is one JSON list."""
    return _conversations(_json_rows(stream, object_path), object_path, filter)


def read_parquet(file: pa.NativeFile, object_path: str, filter: Filter) -> Iterator[Item]:
    """The conversations of a Parquet object's rows."""
    return _conversations(_parquet_rows(file, object_path), object_path, filter)


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


def _json_rows(stream: pa.NativeFile, object_path: str) -> Iterator[tuple[str, Any] | BadInput]:
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
    text = [first]
    for part in parts:
        if isinstance(part, BadInput):
            yield part
            return
        text.append(part)
    found = _parsed(b"\n".join(text), object_path, WHOLE)
    if isinstance(found, BadInput):
        yield found
        return
    for number, row in enumerate(found[1], 1):
        yield f"item {number}", row


def _parsed(text: bytes, object_path: str, where: str) -> tuple[str, Any] | BadInput:
    try:
        return where, json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        return undecodable(object_path, where, error)
    except (ValueError, RecursionError) as error:
        return BadInput(object_path, where, "not JSON", str(error))


def _parquet_rows(file: pa.NativeFile, object_path: str) -> Iterator[tuple[str, Any] | BadInput]:
    number = 0
    try:
        for batch in pq.ParquetFile(file, page_checksum_verification=True).iter_batches(
            ROWS, use_threads=False
        ):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except DAMAGE as error:
        yield unreadable(object_path, f"after row {number}" if number else WHOLE, error)
