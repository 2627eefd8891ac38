"""JSON lines: every line is an object with a text field."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa

from longspan.corpus.bad_input import BadInput, not_text, undecodable, unreadable, without_field

CHUNK = 2**20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read(stream: pa.NativeFile, object_path: str, text_field: str) -> Iterator[str | BadInput]:
    """The text of every line; blank lines are passed over."""
    number = found = 0
    for lines in _lines(stream, object_path):
        if isinstance(lines, BadInput):
            yield lines
            return
        count = lines.count(b"\n") + 1
        texts = _fast(lines, count, text_field)
        if texts is None:
            texts = list(_slow(lines, object_path, number, text_field))
        number += count
        found += len(texts)
        yield from texts
    if not found:
        yield BadInput(object_path, "the whole object", "empty", "it has no lines")


def _fast(lines: bytes, count: int, field: str) -> list[str] | None:
    """The texts of well-formed lines; None when there is anything out of the ordinary.

    All lines are parsed at once, as one JSON array, which is faster than one by one but does not
    say which of them is wrong. (Arrow's JSON reader, no faster, crashes on lines that hold no
    object.)
    """
    try:
        # A line's end stays in, so that a text which goes on in the next line is an error still.
        rows = json.loads("[" + lines.decode("utf-8").replace("\n", ",\n") + "]")
        texts = [row[field] for row in rows]
        # JSON can write half of a surrogate pair, which is no character.
        if b"\\u" in lines:
            "".join(texts).encode("utf-8")
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if len(texts) != count or not all(isinstance(text, str) for text in texts):
        return None
    return texts


def _slow(lines: bytes, object_path: str, before: int, field: str) -> Iterator[str | BadInput]:
    for number, line in enumerate(lines.split(b"\n"), before + 1):
        if line and not line.isspace():
            yield _text(line, object_path, f"line {number}", field)


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
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return BadInput(object_path, where, "not UTF-8", "half of a surrogate pair")
    return text


def _lines(stream: pa.NativeFile, object_path: str) -> Iterator[bytes | BadInput]:
    """Whole lines, as many as a chunk holds, without the last line's end."""
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
            yield b"".join([*pending, head])
            pending = []
        pending.append(rest)
    if last := b"".join(pending):
        yield last
