"""JSON lines: every line is an object with a text field."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa

from longspan.corpus.bad_input import BadInput, not_text, undecodable, unreadable, without_field

CHUNK = 2**22
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read(stream: pa.NativeFile, object_path: str, text_field: str) -> Iterator[str | BadInput]:
    """The text of every line; blank lines are passed over."""
    number = found = 0
    for lines in _lines(stream, object_path):
        if isinstance(lines, BadInput):
            yield lines
            return
        for line in lines:
            number += 1
            if line and not line.isspace():
                found += 1
                yield _text(line, object_path, f"line {number}", text_field)
    if not found:
        yield BadInput(object_path, "the whole object", "empty", "it has no lines")


def _text(line: bytes, object_path: str, where: str, field: str) -> str | BadInput:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return undecodable(object_path, where, error)
    except (ValueError, RecursionError) as error:
        return BadInput(object_path, where, "not JSON", str(error))
    if not isinstance(row, dict):
        return BadInput(object_path, where, "not a JSON object", f"it is a {type(row).__name__}")
    if field not in row:
        return without_field(object_path, where, field, list(row))
    text = row[field]
    if not isinstance(text, str):
        return not_text(object_path, where, field, text)
    if not text.isascii():
        try:  # JSON can write half of a surrogate pair, which is no character.
            text.encode("utf-8")
        except UnicodeEncodeError:
            return BadInput(object_path, where, "not UTF-8", "half of a surrogate pair")
    return text


def _lines(stream: pa.NativeFile, object_path: str) -> Iterator[list[bytes] | BadInput]:
    """Lists of whole lines, one list per chunk read."""
    pending: list[bytes] = []
    first = True
    while True:
        try:
            chunk = stream.read(CHUNK)
        except (OSError, pa.ArrowException) as error:
            # What is pending is the beginning of a line that does not go on.
            yield unreadable(object_path, "after its last whole line", error)
            return
        if first:
            chunk, first = chunk.removeprefix(BYTE_ORDER_MARK), False
        if not chunk:
            break
        head, newline, rest = chunk.rpartition(b"\n")
        if newline:
            yield b"".join([*pending, head]).split(b"\n")
            pending = []
        pending.append(rest)
    if last := b"".join(pending):
        yield [last]
