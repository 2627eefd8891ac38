"""Plain text: an object is one document, or each of its blocks between blank lines is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from longspan.corpus.bad_input import BadInput, undecodable, unreadable

BLANK_LINES = re.compile(r"\r?\n(?:[ \t]*\r?\n)+")


def read(stream: pa.NativeFile, object_path: str) -> Iterator[str | BadInput]:
    """The object's text, without a byte order mark."""
    where = "the whole object"
    try:
        data = stream.read()
    except (OSError, pa.ArrowException) as error:
        yield unreadable(object_path, where, error)
        return
    if not data:
        yield BadInput(object_path, where, "empty", "it decompresses to 0 bytes")
        return
    try:
        yield data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        yield undecodable(object_path, where, error)


def read_blocks(stream: pa.NativeFile, object_path: str) -> Iterator[str | BadInput]:
    """The text's blocks, without the blank lines between them."""
    found = 0
    for item in read(stream, object_path):
        if isinstance(item, BadInput):
            yield item
            return
        for block in BLANK_LINES.split(item):
            if block and not block.isspace():
                found += 1
                yield block.strip("\r\n")
    if not found:
        yield BadInput(object_path, "the whole object", "empty", "it has nothing but blank lines")
