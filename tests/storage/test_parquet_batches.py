"""Batches of Parquet rows are of bounded size once decoded, whatever the file's encodings and layout."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.storage import parquet_batches
from longspan.storage.bounds import TooLarge
from longspan.storage.parquet import open_parquet
from longspan.storage.parquet_batches import BATCH_BYTES, MAX_BATCH_BYTES, read_batches
from longspan.storage.parquet_pages import PageSizes, _num_zeros, page_sizes
from longspan.storage.thrift import UnknownLayout, read_struct

MIB = 2**20
PAGE = 2**20
"""Bytes of a page, as pyarrow writes it; two are held besides a batch."""


def written(table: pa.Table | dict[str, Any], **options: Any) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(table) if isinstance(table, dict) else table, sink, **options)
    return sink.getvalue()


def batches(data: pa.Buffer, columns: list[str]) -> Iterator[pa.RecordBatch]:
    source = pa.BufferReader(data)
    return read_batches(open_parquet(source, columns, MIB), source, columns)


@contextmanager
def counted() -> Iterator[pa.MemoryPool]:
    """A memory pool that tells how much Arrow had allocated at most."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(before)


def repeated(text: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), [text])


def sorted_by_length() -> pa.Array:
    return pa.array(["x" * 10] * 100_000 + ["y" * MIB] * 200)


def lists_sorted_by_length() -> pa.Array:
    turn = {"role": "user", "content": "x" * 100}
    return pa.array([[turn]] * 10_000 + [[turn] * 5_000] * 60)


# Without Arrow's own schema, a dictionary is an encoding of texts as any other.
REPEATED = {"compression": "zstd", "dictionary_pagesize_limit": 2 * MIB, "store_schema": False}
PLAIN = {"use_dictionary": False, "compression": "zstd", "write_batch_size": 4}
PREFIXES = PLAIN | {"column_encoding": {"text": "DELTA_BYTE_ARRAY"}}
HOSTILE: dict[str, tuple[Callable[[], pa.Array], dict[str, Any], int]] = {
    "dictionary": (lambda: repeated("x" * MIB, 1000), REPEATED, BATCH_BYTES),
    "dictionary in structs": (
        lambda: pa.StructArray.from_arrays([repeated("x" * MIB, 1000)], ["text"]),
        REPEATED,
        BATCH_BYTES,
    ),
    "dictionary in lists": (
        lambda: pa.ListArray.from_arrays(list(range(0, 1001, 5)), repeated("x" * MIB, 1000)),
        REPEATED,
        BATCH_BYTES,
    ),
    "sorted": (sorted_by_length, PLAIN, BATCH_BYTES),
    # A page is decompressed as a whole.
    "sorted, one page": (sorted_by_length, PLAIN | {"data_page_size": 2**30}, 201 * MIB),
    "sorted, prefixes": (sorted_by_length, PREFIXES, MAX_BATCH_BYTES),
    "nested lists": (lists_sorted_by_length, PLAIN, BATCH_BYTES),
    "nested lists, second version": (
        lists_sorted_by_length,
        PLAIN | {"data_page_version": "2.0"},
        BATCH_BYTES,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_decoded_batches_are_bounded(name: str) -> None:
    make, options, bound = HOSTILE[name]
    column = make()
    data = written({"text": column}, **options)
    with counted() as pool:
        rows = 0
        for batch in batches(data, ["text"]):
            rows += batch.num_rows
            assert batch.num_rows == 1 or batch.nbytes <= bound + 2 * PAGE
            del batch
        # The reader's own buffers come on top: pages, and values until a batch is complete.
        assert pool.max_memory() <= 3 * (bound + 2 * PAGE)
    assert rows == len(column)


def test_ordinary_files_are_read_in_as_large_batches_as_their_rows_allow() -> None:
    texts = [f"{number} " + "word " * (100 + number % 900) for number in range(20_000)]
    sizes = [batch.num_rows for batch in batches(written({"text": texts}), ["text"])]
    assert sum(sizes) == len(texts)
    # The first rows are entries of a dictionary, of which any may be the longest.
    assert len(sizes) <= 40 + sum(map(len, texts)) / (BATCH_BYTES / 2)
    short = written({"text": ["short"] * 50_000, "n": range(50_000)})
    assert [batch.num_rows for batch in batches(short, ["text", "n"])][:-1] == [8192] * 6


def test_one_huge_row_is_read_alone_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a"] * 1000 + ["x" * 20 * MIB] + ["b"] * 1000
    data = written({"text": texts}, **PLAIN | {"write_batch_size": 1, "data_page_size": 1})
    assert max(batch.nbytes for batch in batches(data, ["text"])) < 22 * MIB
    monkeypatch.setattr(parquet_batches, "MAX_DOCUMENT_BYTES", 4 * MIB)
    found = []
    with pytest.raises(TooLarge, match="has more than 4,194,304 bytes once it is decoded"):
        for batch in batches(data, ["text"]):
            found.append(batch.num_rows)
    assert sum(found) == 1000


PROGRAM = """
import sys
from longspan.corpus.sources import SourceSpec, read
from longspan.storage import Store

def peak():
    # Not ru_maxrss, which a process takes over from the one that started it.
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0])

spec = SourceSpec("x", ("x",), format=sys.argv[2])
store = Store(sys.argv[1])
list(read(store, "small.parquet", spec))
before = peak()
count = sum(1 for _ in read(store, "x.parquet", spec))
print(count, peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("format", ["parquet", "chat"])
def test_a_small_file_takes_little_memory(tmp_path: Path, format: str) -> None:
    """The file has 30 kB, and 1 GiB of text."""
    text = repeated("x" * MIB, 2000)
    if format == "chat":
        roles = pa.array(["user", "assistant"] * 1000)
        turns = pa.StructArray.from_arrays([roles, text], ["role", "content"])
        column, name = pa.ListArray.from_arrays(list(range(0, 2001, 2)), turns), "messages"
    else:
        column, name = text, "text"
    for path, rows in (("x.parquet", column), ("small.parquet", column.slice(0, 2))):
        pq.write_table(pa.table({name: rows}), tmp_path / path, **REPEATED)
    assert (tmp_path / "x.parquet").stat().st_size < 50_000
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), format],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    count, kib = map(int, done.stdout.split())
    assert count >= 500
    assert kib < 200 * 1024


def chunk_of(data: pa.Buffer) -> tuple[pa.NativeFile, Any, Any, int]:
    metadata = pq.ParquetFile(data).metadata
    group = metadata.row_group(0)
    return pa.BufferReader(data), group.column(0), metadata.schema.column(0), group.num_rows


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=60),
    version=st.sampled_from(["1.0", "2.0"]),
    compression=st.sampled_from(["none", "snappy", "gzip", "zstd", "brotli"]),
    page=st.sampled_from([1, 50, 2**20]),
    dictionary=st.booleans(),
)
def test_rows_of_pages_add_up(
    lengths: list[int], version: str, compression: str, page: int, dictionary: bool
) -> None:
    lists = [None if length % 7 == 3 else ["v" * length] * length for length in lengths]
    options = {
        "data_page_version": version,
        "compression": compression,
        "data_page_size": page,
        "use_dictionary": dictionary,
        "write_batch_size": 8,
    }
    for column in (pa.array(lists, pa.list_(pa.string())), pa.array(["v" * n for n in lengths])):
        sizes = page_sizes(*chunk_of(written({"x": column}, **options)))
        assert sizes.rows.sum() == len(lengths)
        assert (sizes.mean_bytes <= sizes.max_bytes * 1.01 + 64).all()
        texts = column.flatten() if pa.types.is_list(column.type) else column
        assert sizes.max_bytes.sum() >= sum(map(len, texts.to_pylist()))


@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_headers_of_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    with suppress(IndexError, UnknownLayout):
        read_struct(data)
    with suppress(UnknownLayout):
        assert 0 <= _num_zeros(data, 1, 50) <= 50


def test_unknown_headers_are_read_row_by_row() -> None:
    data = bytearray(written({"text": ["a", "b", "c"]}, compression="none").to_pybytes())
    data[4:8] = b"\xff\xff\xff\xff"
    with pytest.raises(UnknownLayout):
        page_sizes(*chunk_of(pa.py_buffer(bytes(data))))
    sizes = parquet_batches.RowSizes.unknown(3)
    assert [sizes.batch(row) for row in range(3)] == [1, 1, 1]


def test_sizes_of_several_columns_add_up() -> None:
    one = PageSizes(np.array([10, 10]), np.array([10.0, MIB * 80.0]), np.array([10.0, MIB * 80.0]))
    other = PageSizes(np.array([20]), np.array([20.0]), np.array([20.0 * MAX_BATCH_BYTES]))
    sizes = parquet_batches.RowSizes.of([one], 20)
    assert (sizes.batch(0), sizes.batch(10)) == (10, 1)
    assert parquet_batches.RowSizes.of([one, other], 20).batch(0) == 1
