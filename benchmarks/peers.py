"""The peers: the same documents through MosaicML Streaming and Hugging Face datasets, packed alike.

Both are installed apart from the product's environment, in a folder (see README.md) that only the
benchmarks know.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(__file__).resolve().parents[1] / ".longspan/peers"
NOT_COUNTED = -100
SHARD_BYTES = 2**26
MDS_BATCH = 512
"""Of samples: it looks eight times as far ahead. With less, it waits between samples."""
HF_BUFFER = 1000
"""Documents, or rows, that Hugging Face's `shuffle` keeps to choose from: its default."""
ROWS_PER_GROUP = 1000


class Packed(NamedTuple):
    """One batch: int32 arrays [rows, length], as `longspan.stream.batch.collate` makes them."""

    tokens: np.ndarray
    labels: np.ndarray
    positions: np.ndarray


def installed() -> bool:
    """Whether the peers are there; puts them at the end of the path."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return (FOLDER / "streaming").is_dir() and (FOLDER / "datasets").is_dir()


def pack(documents: Iterable[np.ndarray], rows: int, length: int) -> Iterator[Packed]:
    """Concatenate documents and cut them into batches; what is left at the end is dropped."""
    tokens, starts, filled = np.empty(rows * length, np.int32), [], 0
    for document in documents:
        at = 0
        while at < len(document):
            taken = min(len(document) - at, tokens.size - filled)
            tokens[filled : filled + taken] = document[at : at + taken]
            starts.append(filled)
            at, filled = at + taken, filled + taken
            if filled == tokens.size:
                yield _batch(tokens, np.array(starts), rows, length)
                tokens, starts, filled = np.empty(rows * length, np.int32), [], 0


def stack(rows: Iterable[np.ndarray], number: int, length: int, separator: int) -> Iterator[Packed]:
    """Batches of rows that are packed already; documents end with `separator`."""
    tokens, filled = np.empty((number, length), np.int32), 0
    for row in rows:
        tokens[filled] = row
        filled += 1
        if filled == number:
            flat = tokens.reshape(-1)
            yield _batch(flat, np.flatnonzero(flat[:-1] == separator) + 1, number, length)
            tokens, filled = np.empty((number, length), np.int32), 0


def _batch(tokens: np.ndarray, starts: np.ndarray, rows: int, length: int) -> Packed:
    starts = np.union1d(starts, np.arange(rows) * length).astype(np.int32)
    labels = np.empty_like(tokens)
    labels[:-1] = tokens[1:]
    labels[starts[1:] - 1] = NOT_COUNTED
    labels[-1] = NOT_COUNTED
    positions = np.arange(tokens.size, dtype=np.int32)
    positions -= np.repeat(starts, np.diff(starts, append=tokens.size))
    return Packed(*(array.reshape(rows, length) for array in (tokens, labels, positions)))


def write_mds(folder: Path, column: str, encoding: str, values: Iterable[Any]) -> None:
    """Samples of one column, in MosaicML's format."""
    with _mosaic().MDSWriter(
        out=str(folder), columns={column: encoding}, size_limit=SHARD_BYTES
    ) as writer:
        for value in values:
            writer.write({column: value})


def write_parquet(path: Path, documents: Iterable[np.ndarray]) -> None:
    """Lists of tokens, a thousand documents in each row group."""
    schema = pa.schema([("tokens", pa.list_(pa.int32()))])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        group: list[np.ndarray] = []
        for document in documents:
            group.append(document)
            if len(group) == ROWS_PER_GROUP:
                writer.write_table(pa.table({"tokens": group}, schema=schema))
                group = []
        if group:
            writer.write_table(pa.table({"tokens": group}, schema=schema))


def mds_dataset(folder: Path, **options: Any) -> Any:
    """A shuffling `StreamingDataset` over local shards, with its default algorithm."""
    base = _mosaic()
    base.util.clean_stale_shared_memory()
    return base.StreamingDataset(
        local=str(folder), shuffle=True, shuffle_seed=0, batch_size=MDS_BATCH, **options
    )


def mds_samples(dataset: Any, column: str) -> Iterator[Any]:
    """Samples without end: epoch after epoch."""
    while True:
        for sample in dataset:
            yield sample[column]


def hf_dataset(kind: str, pattern: str | list[str]) -> Any:
    """A streaming dataset over local files, not shuffled yet."""
    import datasets

    datasets.disable_progress_bars()
    # Else it sleeps for 5 s after every epoch.
    datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0
    cache = tempfile.gettempdir()
    return datasets.load_dataset(
        kind, data_files=pattern, split="train", streaming=True, cache_dir=cache
    )


def hf_samples(dataset: Any, column: str) -> Iterator[Any]:
    """Samples without end, shuffled anew in every epoch."""
    dataset = dataset.shuffle(seed=0, buffer_size=HF_BUFFER)
    epoch = 0
    while True:
        dataset.set_epoch(epoch)
        for sample in dataset:
            yield sample[column]
        epoch += 1


def hf_arrays(dataset: Any, column: str) -> Iterator[np.ndarray]:
    """Lists of tokens as arrays, without a copy: the fastest of the library's formats."""
    for value in hf_samples(dataset.with_format("arrow"), column):
        yield value.chunk(0).flatten().to_numpy()


def hf_rows(dataset: Any, length: int) -> Any:
    """Documents packed into rows a thousand at a time by `map`, as its users do before shuffling."""

    def group(table: pa.Table) -> pa.Table:
        flat = table.column("tokens").combine_chunks().flatten()
        rows = len(flat) // length
        offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * length)
        return pa.table({"row": pa.ListArray.from_arrays(offsets, flat[: rows * length])})

    return dataset.with_format("arrow").map(
        group, batched=True, batch_size=ROWS_PER_GROUP, remove_columns=["tokens"]
    )


def in_worker(batches: Callable[[], Iterator[Packed]]) -> Iterator[Any]:
    """The batches of a torch DataLoader with one worker process."""
    from torch.utils.data import DataLoader, IterableDataset

    class Batches(IterableDataset):
        def __iter__(self) -> Iterator[Packed]:
            return batches()

    yield from DataLoader(Batches(), batch_size=None, num_workers=1, multiprocessing_context="fork")


def _mosaic() -> Any:
    """`streaming.base` without the package's own `__init__`, which needs torchvision."""
    installed()
    if "streaming" not in sys.modules:
        spec = PathFinder.find_spec("streaming", [str(FOLDER)])
        assert spec and spec.submodule_search_locations, f"no streaming in {FOLDER}"
        package = ModuleType("streaming")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["streaming"] = package
    import streaming.base
    import streaming.base.util  # pyrefly: ignore

    return streaming.base
