"""Rows of Parquet are counted as they come, for run lengths and dictionaries repeat them at no cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from longspan.corpus.bad_input import BadInput, unreadable
from longspan.corpus.filters import LeftOut
from longspan.storage.bounds import allowed_bytes, expands

Document = str | LeftOut | BadInput
"""A document, or what stands in its place."""

ROW_BYTES = 16
"""Bytes counted for each row besides its text."""


def within_bounds(items: Iterable[Document], object_path: str, stored: int) -> Iterator[Document]:
    """The documents, up to where their texts are larger than an object of that size may hold.

    Args:
        items: what was read.
        object_path: the object, for the message.
        stored: the object's size in bytes.
    """
    left = allowed_bytes(stored)
    for number, item in enumerate(items):
        if isinstance(item, LeftOut):
            left -= ROW_BYTES * item.count
        else:
            left -= ROW_BYTES + (len(item) if isinstance(item, str) else 0)
        if left < 0:
            large = expands(f"more than {number:,} rows", stored)
            yield unreadable(object_path, f"after row {number}", large)
            return
        yield item
