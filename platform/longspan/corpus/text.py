"""Plain text: an object is one document."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from longspan.corpus.bad_input import BadInput, undecodable, unreadable


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
