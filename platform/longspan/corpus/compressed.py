"""Compressed streams that give all that can be decompressed, before the error of a damaged one.

A gzip file may be several members, one after another, with zero bytes after the last one: tapes and
block devices are padded so, and `gzip -t` accepts it.
"""

from __future__ import annotations

import zlib
from typing import Literal, Protocol

import pyarrow as pa

from longspan.storage.bounds import Readable

Compression = Literal["gzip", "zstd"]

RAW_BYTES = 2**17
"""Compressed bytes read at a time."""
GZIP_FORMAT = 31
"""For zlib: gzip's header and checksum, and the largest window."""
SALVAGE_STEPS = (4096, 1)
ERRORS = (OSError, pa.ArrowException)


def decompressed(file: pa.NativeFile, compression: Compression) -> Readable:
    """A file's content, decompressed as it is read.

    What comes before damage is given first; the next read raises an OSError or a pa.ArrowException.
    """
    return Delayed(Gzip(file) if compression == "gzip" else Zstd(file))


class Pieces(Protocol):
    """A source of some bytes at a time."""

    def piece(self, limit: int) -> bytes:
        """The next bytes, at most `limit` and at least one; none only at the end."""
        ...


class Delayed:
    """A stream that raises an error only once all bytes before it are given."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._error: Exception | None = None

    def read(self, nbytes: int) -> bytes:
        """The next bytes, as many as asked for; fewer only at the end, or before an error."""
        if self._error:
            raise self._error
        parts: list[bytes] = []
        left = nbytes
        try:
            while left and (piece := self._pieces.piece(left)):
                parts.append(piece)
                left -= len(piece)
        except ERRORS as error:
            if not parts:
                raise
            self._error = error
        return b"".join(parts)


class Gzip:
    """Members of a gzip file, decompressed one after another."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        self._raw = b""
        self._member = zlib.decompressobj(GZIP_FORMAT)

    def piece(self, limit: int) -> bytes:
        """See `Pieces`."""
        while True:
            if self._member.eof and not self._next_member():
                return b""
            if not self._raw:
                self._raw = self._file.read(RAW_BYTES)
            is_end = not self._raw
            try:
                data = self._member.decompress(self._raw, limit)
            except zlib.error as error:
                raise OSError(f"gzip: {error}") from None
            self._raw = self._member.unused_data or self._member.unconsumed_tail
            if data:
                return data
            if is_end and not self._member.eof:
                raise OSError("gzip: the file ends within a member")

    def _next_member(self) -> bool:
        """Go to the next member; False where nothing but zero bytes is left."""
        raw = self._raw
        while not (raw := raw.lstrip(b"\0")):
            if not (raw := self._file.read(RAW_BYTES)):
                return False
        self._raw = raw
        self._member = zlib.decompressobj(GZIP_FORMAT)
        return True


class Zstd:
    """Frames of a zstd file, decompressed one after another."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        # A stream closes its file when it is freed.
        self._streams = [pa.CompressedInputStream(file, "zstd")]
        self._given = 0
        self._error: Exception | None = None

    def piece(self, limit: int) -> bytes:
        """See `Pieces`."""
        if self._error:
            raise self._error
        try:
            data = self._streams[0].read(limit)
            self._given += len(data)
            return data
        except ERRORS as error:
            self._error = error
            # Arrow drops what it had decompressed of this read.
            if not (data := self._salvaged(limit)):
                raise
            return data

    def _salvaged(self, limit: int) -> bytes:
        """Bytes that come before the error in the read that failed."""
        found = b""
        for step in SALVAGE_STEPS:
            self._file.seek(0)
            stream = pa.CompressedInputStream(self._file, "zstd")
            self._streams.append(stream)
            try:
                left = self._given + len(found)
                while left:
                    left -= len(stream.read(min(left, RAW_BYTES)))
                while len(found) < limit and (data := stream.read(step)):
                    found += data
            except ERRORS:
                continue
        return found
