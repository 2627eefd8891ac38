"""Rows of Parquet files in batches of bounded size, whatever the file's encodings and layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from longspan.storage.bounds import MAX_DOCUMENT_BYTES, TooLarge
from longspan.storage.parquet import leaf_numbers
from longspan.storage.parquet_pages import PageSizes, page_sizes
from longspan.storage.thrift import UnknownLayout

BUFFER_BYTES = 2**20
"""Bytes read of a column chunk at a time, which may be as large as the file."""
BATCH_BYTES = 2**22
"""Decoded bytes of a batch, by the mean size of a page's values."""
MAX_BATCH_BYTES = 2**27
"""Decoded bytes of a batch of several rows, by the longest value that a page may have."""
MAX_BATCH_ROWS = 8192


def read_batches(
    file: pq.ParquetFile, source: pa.NativeFile, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Rows of a file in order, in batches of about `BATCH_BYTES` once decoded.

    A batch has one row at least, and at most `MAX_BATCH_BYTES` if it has several.

    Args:
        file: an opened file.
        source: the content that it was opened from.
        columns: those to be read, as in `open_parquet`.

    Raises:
        TooLarge: a row has more than `MAX_DOCUMENT_BYTES`.
        OSError, ValueError, pa.ArrowException: the file is damaged.
    """
    for group in range(file.metadata.num_row_groups):
        yield from _read_group(file, source, columns, group)


def _read_group(
    file: pq.ParquetFile, source: pa.NativeFile, columns: Sequence[str], group: int
) -> Iterator[pa.RecordBatch]:
    num_rows = file.metadata.row_group(group).num_rows
    if not num_rows:
        return
    sizes = _row_sizes(file, source, columns, group)
    done, size = 0, sizes.batch(0)
    batches = file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False)
    while (batch := next(batches, None)) is not None:
        yield batch
        done += batch.num_rows
        if done < num_rows:
            # The reader looks at this before each batch; `iter_batches` itself takes one size for all.
            file.reader.set_batch_size(sizes.batch(done))
    if done != num_rows:
        raise pa.ArrowInvalid(f"row group {group} has {done:,} rows, not {num_rows:,} as it states")


def _row_sizes(
    file: pq.ParquetFile, source: pa.NativeFile, columns: Sequence[str], group: int
) -> RowSizes:
    row_group, schema = file.metadata.row_group(group), file.metadata.schema
    pages = []
    for number in leaf_numbers(file.metadata, columns):
        chunk, column = row_group.column(number), schema.column(number)
        try:
            pages.append(page_sizes(source, chunk, column, row_group.num_rows))
        except UnknownLayout:  # If it is damage, reading it says so.
            return RowSizes.unknown(row_group.num_rows)
    return RowSizes.of(pages, row_group.num_rows)


class RowSizes:
    """Sizes of a row group's rows once decoded, as far as its pages tell.

    Args:
        ends: numbers of rows after which the sizes are known, rising from 0, int64 [n].
        mean_bytes: expected size of so many rows, float64 [n].
        max_bytes: upper bound of that, float64 [n].
    """

    def __init__(self, ends: np.ndarray, mean_bytes: np.ndarray, max_bytes: np.ndarray) -> None:
        self._ends, self._mean, self._max = ends, mean_bytes, max_bytes

    @classmethod
    def of(cls, columns: Sequence[PageSizes], num_rows: int) -> RowSizes:
        """Sizes of rows with these columns; a page's bytes are spread evenly over its rows."""
        steps = [np.concatenate([[0], np.cumsum(pages.rows)]) for pages in columns]
        ends = np.unique(np.concatenate([*steps, [0, num_rows]]))
        mean, most = np.zeros(len(ends)), np.zeros(len(ends))
        for pages, step in zip(columns, steps, strict=True):
            mean += np.interp(ends, step, np.concatenate([[0], np.cumsum(pages.mean_bytes)]))
            most += np.interp(ends, step, np.concatenate([[0], np.cumsum(pages.max_bytes)]))
        return cls(ends, mean, most)

    @classmethod
    def unknown(cls, num_rows: int) -> RowSizes:
        """Sizes for which rows are read one at a time."""
        ends = np.array([0, num_rows])
        return cls(ends, ends.astype(float), ends * float(MAX_BATCH_BYTES))

    def batch(self, first: int) -> int:
        """Rows to be read together, from row `first` on.

        Raises:
            TooLarge: one row alone is too large.
        """
        rows = min(
            self._rows(self._mean, first, BATCH_BYTES),
            self._rows(self._max, first, MAX_BATCH_BYTES),
        )
        if rows < 1 and self._size(self._mean, first) > MAX_DOCUMENT_BYTES:
            raise TooLarge(
                f"row {first + 1} of a row group has more than {MAX_DOCUMENT_BYTES:,} bytes once it "
                "is decoded; split it into several rows"
            )
        return max(1, min(rows, MAX_BATCH_ROWS))

    def _rows(self, sizes: np.ndarray, first: int, num_bytes: int) -> int:
        """Rows from `first` on that have so many bytes."""
        start = np.interp(first, self._ends, sizes)
        return int(np.interp(start + num_bytes, sizes, self._ends)) - first

    def _size(self, sizes: np.ndarray, first: int) -> float:
        """Bytes of row `first`."""
        start, end = np.interp([first, first + 1], self._ends, sizes)
        return float(end - start)
