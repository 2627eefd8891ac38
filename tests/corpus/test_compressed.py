"""Compressed files that end badly: every complete line before the end is read."""

import gzip
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.corpus import jsonl
from longspan.corpus.bad_input import BadInput
from longspan.corpus.compressed import Compression, decompressed
from longspan.corpus.wanted import RowSelector
from tests.raw import zstd

CONTENT = b"".join(b'{"text": "the ship came before storm %d"}\n' % n for n in range(40_000))
WRITE: dict[Compression, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd}


def read(data: bytes, compression: Compression, size: int = 2**20) -> tuple[bytes, str]:
    """The content, and the error that it ends with."""
    stream, parts = decompressed(pa.BufferReader(data), compression), []
    try:
        while part := stream.read(size):
            parts.append(part)
    except (OSError, pa.ArrowException) as error:
        with pytest.raises(type(error)):
            stream.read(size)
        return b"".join(parts), str(error)
    return b"".join(parts), ""


@pytest.mark.parametrize("size", [777, 2**20])
@pytest.mark.parametrize("compression", WRITE)
def test_members_follow_each_other(compression: Compression, size: int) -> None:
    data = WRITE[compression](CONTENT) + WRITE[compression](b"more")
    assert read(data, compression, size) == (CONTENT + b"more", "")


@pytest.mark.parametrize("zeros", [1, 511, 300_000])
def test_zeros_after_the_last_member_are_padding(zeros: int) -> None:
    data = gzip.compress(CONTENT)
    assert read(data + bytes(zeros), "gzip") == (CONTENT, "")
    assert read(data + bytes(zeros) + data, "gzip", 1000) == (CONTENT * 2, "")


def test_anything_else_after_the_last_member_is_an_error() -> None:
    content, error = read(gzip.compress(CONTENT) + b"\0\0rest", "gzip")
    assert content == CONTENT
    assert "incorrect header" in error


@pytest.mark.parametrize("compression", WRITE)
@pytest.mark.parametrize("left", [1, 9, 100, 5000])
def test_what_comes_before_the_end_of_a_truncated_file_is_read(
    compression: Compression, left: int
) -> None:
    data = WRITE[compression](CONTENT)
    content, error = read(data[:-left], compression)
    assert error
    # zstd decompresses blocks of 128 KiB.
    lost = {"gzip": 100 * left, "zstd": 2**17 + 100 * left}[compression]
    assert len(content) > len(CONTENT) - lost
    assert CONTENT.startswith(content)


@pytest.mark.parametrize("compression", WRITE)
def test_whole_lines_of_a_truncated_file_are_documents(compression: Compression) -> None:
    data = WRITE[compression](CONTENT)[:-5]
    content, _ = read(data, compression)
    stream = decompressed(pa.BufferReader(data), compression)
    *documents, bad = jsonl.read(stream, "x", RowSelector("text"))
    assert isinstance(bad, BadInput)
    assert bad.where == "after its last whole line"
    assert len(documents) == content.count(b"\n") > 35_000


@settings(deadline=None, max_examples=30)
@given(
    at=st.integers(0, 10**6),
    byte=st.integers(0, 255),
    compression=st.sampled_from(["gzip", "zstd"]),
)
def test_damage_anywhere_is_an_error_after_what_comes_before(
    at: int, byte: int, compression: Compression
) -> None:
    small = CONTENT[:20_000]
    data = bytearray(WRITE[compression](small))
    data[at % len(data)] = byte
    content, error = read(bytes(data), compression, 5000)
    # zstd files carry no checksum here.
    assert error or content == small or compression == "zstd"
