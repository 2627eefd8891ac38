"""How large content may become in memory, compared with its size in the store.

A compressed object of some kilobytes can hold gigabytes. No real corpus does: text compresses 3 to
10 times, and rarely 100 times. The bounds leave room for that and for small files of any kind.
"""

from __future__ import annotations

from typing import Protocol

MAX_DOCUMENT_BYTES = 2**30
"""Of one document or one line of JSON, which a worker holds as bytes, as text and as tokens at once."""

FREE_BYTES = 2**30
MAX_EXPANSION = 100


class TooLarge(ValueError):
    """Content that would take too much memory."""


def expands(found: str, stored: int) -> TooLarge:
    """For content that is far larger than the object that it comes from.

    Args:
        found: what it holds, with its size.
        stored: the object's size in bytes.
    """
    return TooLarge(
        f"{found} in an object of {stored:,} bytes; at most {allowed_bytes(stored):,} are read from "
        "it: store it with less compression, or as more and smaller objects"
    )


def allowed_bytes(stored: int) -> int:
    """How many bytes an object of `stored` bytes may decompress to."""
    return max(FREE_BYTES, MAX_EXPANSION * stored)


class Readable(Protocol):
    """A source of bytes, such as a file of pyarrow's."""

    def read(self, nbytes: int) -> bytes:
        """The next bytes, as many as asked for; fewer only at the end."""
        ...


class Bounded:
    """A stream that ends with an error once it has given more than it may.

    Args:
        stream: what decompresses an object.
        stored: the object's size in bytes.
    """

    def __init__(self, stream: Readable, stored: int) -> None:
        self._stream, self._stored = stream, stored
        self._given = 0

    def read(self, nbytes: int) -> bytes:
        """The next bytes of the stream.

        Raises:
            TooLarge: they are more than an object of that size may decompress to.
        """
        data = self._stream.read(nbytes)
        self._given += len(data)
        if self._given > allowed_bytes(self._stored):
            raise expands(f"more than {self._given - len(data):,} bytes", self._stored)
        return data
