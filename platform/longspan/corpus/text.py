"""Plain text: an object is one document, or each of its blocks between blank lines is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from longspan.corpus.bad_input import BadInput, undecodable, unreadable
from longspan.storage.bounds import MAX_DOCUMENT_BYTES, Readable, TooLarge

CHUNK = 2**20
BLANK_LINES = re.compile(r"\r?\n(?:[ \t]*\r?\n)+")


def read(
    stream: Readable, object_path: str, most: int | None = MAX_DOCUMENT_BYTES
) -> Iterator[str | BadInput]:
    """The object's text, without a byte order mark; bad input if it has more than `most` bytes."""
    where = "the whole object"
    try:
        data = b"".join(_chunks(stream, most))
    except (OSError, TooLarge, pa.ArrowException) as error:
        yield unreadable(object_path, where, error)
        return
    if not data:
        yield BadInput(object_path, where, "empty", "it decompresses to 0 bytes")
        return
    try:
        yield data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        yield undecodable(object_path, where, error)


def _chunks(stream: Readable, most: int | None) -> Iterator[bytes]:
    size = 0
    while chunk := stream.read(CHUNK):
        size += len(chunk)
        if most is not None and size > most:
            raise TooLarge(
                f"one document of more than {most:,} bytes; split it into several objects, or set "
                "format: text_blocks, which takes each block between blank lines as a document"
            )
        yield chunk


def read_blocks(stream: Readable, object_path: str) -> Iterator[str | BadInput]:
    """The text's blocks, without the blank lines between them."""
    found = 0
    for item in read(stream, object_path, most=None):
        if isinstance(item, BadInput):
            yield item
            return
        for block in BLANK_LINES.split(item):
            if block and not block.isspace():
                found += 1
                yield block.strip("\r\n")
    if not found:
        yield BadInput(object_path, "the whole object", "empty", "it has nothing but blank lines")
