"""Rows to the training workers through Ray Data, in the global order.

The stream's items are numbered: item j belongs to rank ``j % world_size`` and holds that rank's rows of
update ``first_update + j // world_size``. Ray Data keeps the order (``preserve_order``) and hands blocks
of one item round-robin to the ranks; the consumer checks each item's update and row numbers all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ray.train import DataConfig

from longspan.corpus.batch import Batch, Row, collate, rank_share
from longspan.corpus.manifest import SourceManifest
from longspan.corpus.order import Order
from longspan.corpus.rows import RowReader
from longspan.storage import Store

if TYPE_CHECKING:
    from ray.data import DataIterator, Dataset

ITEMS_PER_TASK = 64
"""Items that one Ray Data task plans: small enough to start soon, large enough for long runs."""

READER_CPUS = 0.1
"""Logical CPUs of a reading task: it mostly waits for the store, and must fit beside training."""


@dataclass(frozen=True)
class StreamPlan:
    """What to stream, for any number of workers."""

    store: Store
    manifests: tuple[SourceManifest, ...]
    order: Order
    first_update: int
    document_mask: bool

    def batch(self, rows: Sequence[Row], update: int, world_size: int) -> Batch:
        """One rank's batch of ``update`` from its rows."""
        stage = self.order.stage_of_update(update)
        share = -(-stage.rows_per_update // world_size)
        return collate(update, rows, share, stage.length, self.document_mask)


def dataset(plan: StreamPlan, world_size: int) -> Dataset:
    """The lazy Ray Data pipeline: item numbers, read by one actor, in blocks of one item."""
    import ray

    items = (plan.order.num_updates - plan.first_update) * world_size
    numbers = ray.data.range(items, override_num_blocks=max(1, items // ITEMS_PER_TASK))
    read = numbers.map_batches(
        _ReadItems,
        fn_constructor_args=(plan, world_size),
        batch_size=None,
        concurrency=1,
        num_cpus=READER_CPUS,
    )
    return read.repartition(target_num_rows_per_block=1, strict=True)


class OrderedDataConfig(DataConfig):
    """Hands the stream to Ray Train's workers; built anew at every start of the worker group.

    Ray Train knows the number of workers only then, and the run's latest checkpoint may be another one.
    """

    def __init__(self, plan: Callable[[], StreamPlan]) -> None:
        """``plan`` is called at each start, for the cursor that the latest checkpoint asks for."""
        super().__init__()
        self._plan = plan

    def configure(
        self, datasets: dict[str, Any], world_size: int, worker_handles: Any, worker_node_ids: Any, **kwargs: Any
    ) -> list[dict[str, DataIterator]]:
        """One iterator per rank, under each dataset's name (the datasets given are placeholders)."""
        per_rank: list[dict[str, DataIterator]] = [{} for _ in range(world_size)]
        for name in datasets:
            stream = dataset(self._plan(), world_size)
            stream.set_name(name)
            stream.context.enable_progress_bars = False
            stream.context.execution_options = self._resolve_execution_options(name)
            stream.context.execution_options.preserve_order = True
            for rank, split in enumerate(stream.streaming_split(world_size, equal=True)):
                per_rank[rank][name] = split
        return per_rank


def batches(iterator: DataIterator, plan: StreamPlan, rank: int, world_size: int) -> Iterator[Batch]:
    """This rank's batches from its split of the stream, each checked against the order."""
    update = plan.first_update
    for item in iterator.iter_batches(batch_size=1, prefetch_batches=2, batch_format="numpy"):
        rows = _unpack({key: values[0] for key, values in item.items()})
        expected = _expected(plan.order, update, rank, world_size)
        found = [row.index for row in rows]
        assert found == expected, f"update {update}, rank {rank}: the stream gave rows {found}, the order says {expected}"
        yield plan.batch(rows, update, world_size)
        update += 1


def local_batches(plan: StreamPlan, rank: int, world_size: int) -> Iterator[Batch]:
    """The same batches without Ray, read in this process."""
    reader = RowReader(plan.store, plan.manifests, plan.order)
    for update in range(plan.first_update, plan.order.num_updates):
        rows = [reader.read(plan.order.row(index)) for index in _expected(plan.order, update, rank, world_size)]
        yield plan.batch(rows, update, world_size)


def _expected(order: Order, update: int, rank: int, world_size: int) -> list[int]:
    """Global numbers of a rank's rows of an update."""
    numbers, _ = rank_share(order.stage_of_update(update).rows_per_update, rank, world_size)
    first = order.first_row_of_update(update)
    return [first + number for number in numbers]


class _ReadItems:
    """The reading actor: item numbers in, one packed item per block out."""

    def __init__(self, plan: StreamPlan, world_size: int) -> None:
        self._plan, self._world_size = plan, world_size
        self._reader = RowReader(plan.store, plan.manifests, plan.order)

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
        for number in batch["id"]:
            update, rank = divmod(int(number), self._world_size)
            update += self._plan.first_update
            indices = _expected(self._plan.order, update, rank, self._world_size)
            rows = [self._reader.read(self._plan.order.row(index)) for index in indices]
            yield {key: [value] for key, value in _pack(rows, update).items()}


_ARRAYS = ("tokens", "starts", "documents", "offsets")


def _pack(rows: Sequence[Row], update: int) -> dict[str, np.ndarray]:
    """Rows as flat arrays that Arrow stores without copying."""
    item = {
        "update": np.array([update], np.int64),
        "indices": np.array([row.index for row in rows], np.int64),
        "sources": np.array([row.source for row in rows], np.int64),
        "lengths": np.array([len(row.tokens) for row in rows], np.int64),
        "pieces": np.array([len(row.starts) for row in rows], np.int64),
    }
    for name in _ARRAYS:
        dtype = np.int32 if name in ("tokens", "starts") else np.int64
        item[name] = np.concatenate([np.empty(0, dtype), *(getattr(row, name) for row in rows)]).astype(dtype)
    return item


def _unpack(item: dict[str, np.ndarray]) -> list[Row]:
    tokens = np.split(item["tokens"], np.cumsum(item["lengths"])[:-1])
    cuts = np.cumsum(item["pieces"])[:-1]
    starts, documents, offsets = (np.split(item[name], cuts) for name in _ARRAYS[1:])
    update = int(item["update"][0])
    return [
        Row(int(index), update, int(source), tokens[i], starts[i], documents[i], offsets[i])
        for i, (index, source) in enumerate(zip(item["indices"], item["sources"], strict=True))
    ]
