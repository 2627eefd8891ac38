"""JSON lines: every line is an object with a text field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from longspan.corpus.bad_input import BadInput, undecodable, unreadable
from longspan.corpus.filters import FILTERED_OUT, LeftOut, field_path, value_at
from longspan.corpus.wanted import File, RowSelector, unknown_condition
from longspan.storage.bounds import MAX_DOCUMENT_BYTES, Readable, TooLarge

CHUNK = 2**20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Item = str | File | LeftOut | BadInput


def read(stream: Readable, object_path: str, wanted: RowSelector) -> Iterator[Item]:
    """Yield the selected fields of every line; blank lines are skipped."""
    number = found = 0
    for part in lines(stream, object_path):
        if isinstance(part, BadInput):
            yield part
            return
        count = part.count(b"\n") + 1
        items = _fast(part, count, object_path, wanted)
        if items is None:
            items = list(_slow(part, object_path, number, wanted))
        number += count
        found += len(items)
        yield from items
    if not found:
        yield BadInput(object_path, "the whole object", "empty", "it has no lines")
    elif unknown := unknown_condition(wanted.filter, object_path):
        yield unknown


def _fast(lines: bytes, count: int, object_path: str, wanted: RowSelector) -> list[Item] | None:
    """What well-formed lines give; None when there is anything out of the ordinary.

    All lines are parsed at once, as one JSON array, which is faster than one by one but does not
    say which of them is wrong. (Arrow's JSON reader, no faster, crashes on lines that hold no
    object.)
    """
    try:
        # A line's end stays in, so that a text which goes on in the next line is an error still.
        rows = json.loads("[" + lines.decode("utf-8").replace("\n", ",\n") + "]")
        if len(rows) != count:
            return None
        if wanted.filter:
            rows = [row for row in rows if wanted.filter.matches(row)]
        texts = _texts(rows, wanted.text)
        # JSON can write half of a surrogate pair, which is no character.
        if b"\\u" in lines:
            "".join(texts).encode("utf-8")
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not all(isinstance(text, str) for text in texts):
        return None
    items: list[Item] = texts
    if wanted.file:
        items = [
            wanted.of(row, text, object_path, "") for row, text in zip(rows, texts, strict=True)
        ]
        if any(isinstance(item, BadInput) for item in items):
            return None
    return items if len(rows) == count else [*items, LeftOut(FILTERED_OUT, count - len(rows))]


def _texts(rows: list[Any], field: str) -> list[Any]:
    if "." not in field:
        return [row[field] for row in rows]
    path = field_path(field)
    return [value_at(row, path) for row in rows]


def _slow(lines: bytes, object_path: str, before: int, wanted: RowSelector) -> Iterator[Item]:
    for number, line in enumerate(lines.split(b"\n"), before + 1):
        if line and not line.isspace():
            yield _item(line, object_path, f"line {number}", wanted)


def _item(line: bytes, object_path: str, where: str, wanted: RowSelector) -> Item:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return undecodable(object_path, where, error)
    except (ValueError, RecursionError) as error:
        return BadInput(object_path, where, "not JSON", str(error))
    if not isinstance(row, dict):
        return BadInput(object_path, where, "not a JSON object", f"it is a {type(row).__name__}")
    if wanted.filter and not wanted.filter.matches(row):
        return LeftOut(FILTERED_OUT)
    text = wanted.text_of(row, object_path, where)
    return text if isinstance(text, BadInput) else wanted.of(row, text, object_path, where)


def lines(stream: Readable, object_path: str) -> Iterator[bytes | BadInput]:
    """Whole lines, as many as a chunk holds, without the last line's end."""
    pending: list[bytes] = []
    size = 0
    first = True
    while True:
        try:
            chunk = stream.read(CHUNK)
        except (OSError, TooLarge, pa.ArrowException) as error:
            # What is pending is the beginning of a line that does not go on.
            yield unreadable(object_path, "after its last whole line", error)
            return
        if first:
            chunk, first = chunk.removeprefix(BYTE_ORDER_MARK), False
        if not chunk:
            break
        head, newline, rest = chunk.rpartition(b"\n")
        if newline:
            yield b"".join([*pending, head])
            pending, size = [], 0
        pending.append(rest)
        size += len(rest)
        if size > MAX_DOCUMENT_BYTES:
            yield unreadable(object_path, "after its last whole line", _long_line())
            return
    if last := b"".join(pending):
        yield last


def _long_line() -> TooLarge:
    return TooLarge(
        f"one line of more than {MAX_DOCUMENT_BYTES:,} bytes; split its document into several lines"
    )
