"""Sizes of a Parquet column's pages, read from the page headers without decoding any value.

The footer states sizes as they are encoded, for a whole column chunk. Decoded, a chunk may be
thousands of times as large (a dictionary repeats a long value at no cost), and its rows may differ as
much from each other (a file that is sorted by length). The headers of the pages tell both.

A header is a struct of Thrift; its fields are described in `parquet.thrift`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from longspan.storage.thrift import Struct, UnknownLayout, read_struct, read_varint

VALUE_BYTES = 16
"""Bytes counted for each value besides its own: offsets, levels, a Python object."""
NESTED_VALUE_BYTES = 64
"""Bytes counted for each value within a list, which becomes a Python object in a list or a dictionary."""
HEADER_BYTES = (2**8, 2**13, 2**17, 2**24)
"""Bytes read of a header, one after another until it is complete: statistics may hold long values."""
PROBED_BYTES = 2**32
"""Worst size of a chunk's values from which on its dictionary is read, for its longest entry: below it,
a few small batches cost less."""
MAX_PAGES = 2**17
"""Pages of a column chunk whose headers are read, in some seconds."""
PAGE_BYTES = 2**26
"""Bytes that a page may have, whatever the metadata says of its chunk."""

DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3
PLAIN, PLAIN_DICTIONARY, RLE, DELTA_LENGTH_BYTE_ARRAY, RLE_DICTIONARY = 0, 2, 3, 6, 8
CODECS = {"SNAPPY": "snappy", "GZIP": "gzip", "BROTLI": "brotli", "ZSTD": "zstd"}
"""Names that `pa.decompress` has for the codecs of Parquet; LZ4 has two framings under one name."""
FIXED_BYTES = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}


@dataclass(frozen=True)
class PageSizes:
    """Pages of one column chunk, in the order of their rows.

    Attributes:
        rows: rows of each page, int64 [pages]; every one is 1 or more.
        mean_bytes: expected size of each page's values once decoded, float64 [pages].
        max_bytes: upper bound of that, float64 [pages].
    """

    rows: np.ndarray
    mean_bytes: np.ndarray
    max_bytes: np.ndarray


def page_sizes(
    source: pa.NativeFile, chunk: pq.ColumnChunkMetaData, column: pq.ColumnSchema, num_rows: int
) -> PageSizes:
    """Sizes of a column chunk's pages.

    Args:
        source: the file's content.
        chunk: the column chunk's metadata.
        column: the column that it is of.
        num_rows: rows of the row group.

    Raises:
        UnknownLayout: the headers can't be parsed, or disagree with the metadata.
        OSError, pa.ArrowException: a page can't be read or decompressed.
    """
    width = FIXED_BYTES.get(chunk.physical_type, column.length)
    if chunk.physical_type != "BYTE_ARRAY" and column.max_repetition_level == 0:
        sizes = np.array([float((width + VALUE_BYTES) * num_rows)])
        return PageSizes(np.array([num_rows]), sizes, sizes)
    return _Chunk(source, chunk, column).sizes(num_rows)


class _Chunk:
    """Reader of one column chunk's page headers."""

    def __init__(
        self, source: pa.NativeFile, chunk: pq.ColumnChunkMetaData, column: pq.ColumnSchema
    ) -> None:
        self._source, self._chunk, self._column = source, chunk, column
        self._is_nested = column.max_repetition_level > 0
        self._value_bytes = NESTED_VALUE_BYTES if self._is_nested else VALUE_BYTES
        # Some writers state too little; a page of some megabytes does no harm.
        self._max_page_bytes = max(chunk.total_uncompressed_size, PAGE_BYTES)

    def sizes(self, num_rows: int) -> PageSizes:
        dictionary: tuple[int, Struct] | None = None
        pages: list[list[float]] = []
        for at, header in self._headers():
            if header[1] == DICTIONARY_PAGE:
                dictionary = at, header
            elif header[1] in (DATA_PAGE, DATA_PAGE_V2):
                rows, sizes = self._rows(at, header), self._bytes(header)
                if not pages or (rows and pages[-1][0]):
                    pages.append([rows, *sizes])
                else:  # Without rows it is empty, or has the rest of the row before.
                    pages[-1] = [sum(pair) for pair in zip(pages[-1], [rows, *sizes], strict=True)]
        rows = np.array([page[0] for page in pages], np.int64)
        if not pages or rows.sum() != num_rows or rows.min() < 1:
            raise UnknownLayout(f"its pages have {rows.sum():,} rows, not {num_rows:,}")
        mean, most, entries = (np.array([page[n] for page in pages]) for n in (1, 2, 3))
        mean_entry, max_entry = self._entry_bytes(dictionary, float(entries.sum()))
        return PageSizes(rows, mean + mean_entry * entries, most + max_entry * entries)

    def _headers(self) -> Iterator[tuple[int, Struct]]:
        """Each page's place after its header, and the header."""
        chunk = self._chunk
        at, dictionary = chunk.data_page_offset, chunk.dictionary_page_offset
        if dictionary is not None and 0 < dictionary < at:
            at = dictionary
        end = min(at + chunk.total_compressed_size, self._source.size())
        num_values = num_pages = 0
        while at < end and num_values < chunk.num_values:
            num_pages += 1
            if num_pages > MAX_PAGES:
                raise UnknownLayout(f"more than {MAX_PAGES:,} pages")
            header, length = self._header(at)
            if header[3] < 0 or not 0 <= header[2] <= self._max_page_bytes:
                raise UnknownLayout(f"a page of {header[2]:,} bytes")
            at += length
            yield at, header
            at += header[3]
            num_values += _data(header).get(1, 0)

    def _header(self, at: int) -> tuple[Struct, int]:
        for size in HEADER_BYTES:
            data = self._source.read_at(size, at)
            try:
                header, length = read_struct(data)
            except IndexError:
                if len(data) < size:
                    break
                continue
            if not all(isinstance(header.get(field), int) for field in (1, 2, 3)):
                break
            return header, length
        raise UnknownLayout(f"no page header at byte {at:,}")

    def _bytes(self, header: Struct) -> tuple[float, float, float]:
        """Expected and greatest size of a page's values, and how many are entries of the dictionary."""
        data, size = _data(header), header[2]
        num_values = float(_count(data, 1))
        own = self._value_bytes * num_values
        if self._chunk.physical_type != "BYTE_ARRAY":
            width = FIXED_BYTES.get(self._chunk.physical_type, self._column.length)
            return own + width * num_values, own + width * num_values, 0.0
        encoding = data.get(4 if header[1] == DATA_PAGE_V2 else 2)
        if encoding in (PLAIN_DICTIONARY, RLE_DICTIONARY):
            return own, own, num_values
        if encoding in (PLAIN, DELTA_LENGTH_BYTE_ARRAY):
            return own + size, own + size, 0.0
        # Of DELTA_BYTE_ARRAY each value may repeat the one before it.
        return own + size, own + num_values * size, 0.0

    def _entry_bytes(
        self, dictionary: tuple[int, Struct] | None, num_values: float
    ) -> tuple[float, float]:
        """Mean and greatest size of the dictionary's entries, of which there are so many in the pages."""
        if dictionary is None:
            return 0.0, 0.0
        at, header = dictionary
        size = header[2]
        mean = size / max(1, _count(header.get(7), 1))
        if size * num_values > PROBED_BYTES:
            content = self._content(at, header[3], size)
            if content is not None:
                return mean, float(_longest(content))
        return mean, float(size)

    def _rows(self, at: int, header: Struct) -> int:
        """Rows that begin in a page."""
        data = _data(header)
        if header[1] == DATA_PAGE_V2:
            return _count(data, 3)
        if not self._is_nested:
            return _count(data, 1)
        content = self._content(at, header[3], header[2])
        if content is None or data.get(4) != RLE:
            raise UnknownLayout("repetition levels of an unknown form")
        width = self._column.max_repetition_level.bit_length()
        length = int.from_bytes(content[:4], "little")
        return _num_zeros(content[4 : 4 + length], width, _count(data, 1))

    def _content(self, at: int, compressed: int, size: int) -> bytes | None:
        """A page decompressed; None where its codec is not known here."""
        data = self._source.read_at(compressed, at)
        if self._chunk.compression == "UNCOMPRESSED":
            return data
        codec = CODECS.get(self._chunk.compression)
        return pa.decompress(data, size, codec, asbytes=True) if codec else None


def _data(header: Struct) -> Struct:
    """Header of the data in a page header, of either version; empty for a dictionary."""
    found = header.get(8 if header[1] == DATA_PAGE_V2 else 5, {})
    if not isinstance(found, dict):
        raise UnknownLayout("a page header without its data header")
    return found


def _count(struct: Any, field: int) -> int:
    value = struct.get(field) if isinstance(struct, dict) else None
    if not isinstance(value, int) or value < 0:
        raise UnknownLayout("a page header without a count")
    return value


def _longest(dictionary: bytes) -> int:
    """Bytes of the longest entry of a dictionary of byte arrays, each behind its length."""
    at = longest = 0
    while at + 4 <= len(dictionary):
        length = int.from_bytes(dictionary[at : at + 4], "little")
        longest = max(longest, length)
        at += 4 + length
    return longest


def _num_zeros(data: bytes, width: int, num_values: int) -> int:
    """Zeros among levels that are encoded as runs and bit-packed groups of eight.

    Args:
        data: the encoded levels.
        width: bits of a level.
        num_values: levels in `data`.

    Raises:
        UnknownLayout: `data` has fewer levels.
    """
    at = zeros = done = 0
    value_bytes = (width + 7) // 8
    try:
        while done < num_values:
            run, at = read_varint(data, at)
            count = run >> 1
            if run & 1:
                count *= 8
                used = min(count, num_values - done)
                needed = -(-used // 8) * 8
                packed = np.frombuffer(data, np.uint8, needed * width // 8, at)
                at += count * width // 8
                bits = np.unpackbits(packed, bitorder="little").reshape(needed, width)
                zeros += used - int(np.count_nonzero(bits[:used].any(axis=1)))
            else:
                is_zero = not any(data[at : at + value_bytes])
                zeros += min(count, num_values - done) if is_zero else 0
                at += value_bytes
            if not count:
                raise UnknownLayout("an empty run of levels")
            done += count
    except (IndexError, ValueError) as error:
        raise UnknownLayout(f"levels that end early: {error}") from None
    return zeros
