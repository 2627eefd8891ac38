"""Rows to the training workers through Ray Data, in the global order.

One pipeline feeds all ranks: item numbers, turned into items (see :class:`StreamPlan`) by an actor
that keeps the windows of shards it reads, dealt round-robin to the ranks in blocks of one item.
What keeps the order and the pace, each verified by the tests of this module:

- `preserve_order`: blocks leave every operator in the order of its inputs, and the splitter deals
  them to the ranks in turn.
- `target_max_block_size = 1` byte: Ray Data cuts blocks larger than that, but never a row, so each
  block is one item, without an operator that repartitions.
- one task in flight per reader: with more, Ray Data's scheduling loop waits 0.1 s at every turn for
  the ones that have not begun; one gives several times as many items a second.
- the plan's item numbers and the reading are fused into one operator that asks for no CPU: a
  cluster whose CPUs are all taken by training workers still feeds them.
- `resource_limits.object_store_memory` bounds what is read ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from ray.data import ActorPoolStrategy, DataIterator, ExecutionResources, read_datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.train import DataConfig

from longspan.corpus.batch import Batch, Row
from longspan.corpus.items import pack, unpack
from longspan.corpus.streamplan import StreamPlan, local_batches
from longspan.errors import UserError

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["OrderedDataConfig", "StreamPlan", "batches", "dataset", "local_batches"]

ITEMS_PER_TASK = 256
"""Items of one reading task: what is read again when a reader dies, at most."""

MOST_TASKS = 4096
"""Tasks are made when the stream starts, so a long run has longer ones."""

LEAST_LOOK_AHEAD = 16 * 2**20
"""Bytes that may always be read ahead, however small the updates."""

BYTES_PER_TOKEN = 6
"""The token itself takes 4; the rest is for the facts of pieces, 20 bytes each."""

ITEM = "item"


def dataset(plan: StreamPlan, world_size: int) -> Dataset:
    """The lazy Ray Data pipeline of a plan's items, for `streaming_split(world_size)`."""
    numbers = _ItemNumbers(plan.num_items(world_size))
    stream = read_datasource(
        numbers, num_cpus=0, override_num_blocks=len(numbers.tasks())
    ).map_batches(
        _ItemReader,
        fn_constructor_args=(plan, world_size),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=plan.readers, max_tasks_in_flight_per_actor=1),
        num_cpus=0,
    )
    stream.context.target_max_block_size = 1
    stream.context.enable_progress_bars = False
    options = stream.context.execution_options
    options.preserve_order = True
    options.resource_limits = ExecutionResources(
        object_store_memory=_look_ahead_bytes(plan, world_size)
    )
    return stream


class OrderedDataConfig(DataConfig):
    """Hands the stream to Ray Train's workers; built anew at every start of the worker group.

    Only then is the number of workers known, and the run's latest checkpoint may be another one.
    The datasets given to the trainer are placeholders: only their names count.
    """

    def __init__(self, plan: Callable[[], StreamPlan]) -> None:
        """`plan` is called at each start, for the first update that the latest checkpoint asks for.

        It runs in an actor of Ray Train's, on the node of the run's controller.
        """
        super().__init__()
        self._plan = plan

    def configure(
        self,
        datasets: dict[str, Any],
        world_size: int,
        worker_handles: Any,
        worker_node_ids: Any,
        **kwargs: Any,
    ) -> list[dict[str, DataIterator]]:
        """One iterator per rank, under each dataset's name."""
        per_rank: list[dict[str, DataIterator]] = [{} for _ in range(world_size)]
        for name in datasets:
            stream = dataset(self._plan(), world_size)
            stream.set_name(name)
            for rank, split in enumerate(stream.streaming_split(world_size, equal=False)):
                per_rank[rank][name] = split
        return per_rank


def batches(
    iterator: DataIterator, plan: StreamPlan, rank: int, world_size: int
) -> Generator[Batch]:
    """A rank's batches from its split of the stream, each checked against the order.

    Raises:
        UserError: a shard is missing or corrupt (it is named).
    """
    with closing(_tables(iterator)) as items:
        for item in range(rank, plan.num_items(world_size), world_size):
            table = next(items, None)
            assert table is not None, f"rank {rank}: the stream ended before item {item}"
            rows = unpack(table)
            for update in plan.updates_of_item(item, world_size):
                mine = [row for row in rows if row.update == update]
                expected = plan.indices(update, rank, world_size)
                found = [row.index for row in mine]
                assert found == expected, (
                    f"update {update}, rank {rank}: the stream gave rows {found}, not {expected}"
                )
                yield plan.batch(mine, update, world_size)
        assert next(items, None) is None, f"rank {rank}: the stream goes on after its last item"


def _tables(iterator: DataIterator) -> Generator[pa.Table]:
    """Blocks of one item; closing it tells the stream that this rank takes no more."""
    yield from iterator.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2)


def _look_ahead_bytes(plan: StreamPlan, world_size: int) -> int:
    """Room for the updates asked for, and never for less than every rank's item and its next two.

    With less room the stream would wait for ranks that wait for the last rank's item.
    """
    tokens = max(stage.length * stage.rows_per_update for stage in plan.order.stages)
    updates = max(plan.look_ahead, 3 * plan.updates_per_item(world_size))
    return max(updates * tokens * BYTES_PER_TOKEN, LEAST_LOOK_AHEAD)


class _ItemNumbers(Datasource):
    """The numbers 0 .. items - 1, in a moderate number of tasks however many there are."""

    def __init__(self, items: int) -> None:
        super().__init__()
        self._items = items

    def get_name(self) -> str:
        return "Items"

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def tasks(self) -> list[range]:
        size = max(ITEMS_PER_TASK, -(-self._items // MOST_TASKS))
        return [
            range(first, min(first + size, self._items)) for first in range(0, self._items, size)
        ]

    def get_read_tasks(self, parallelism: int, *args: Any, **kwargs: Any) -> list[ReadTask]:
        return [
            ReadTask(lambda numbers=numbers: [_number_table(numbers)], _metadata(numbers))
            for numbers in self.tasks()
        ]


def _number_table(numbers: range) -> pa.Table:
    return pa.table({ITEM: np.arange(numbers.start, numbers.stop)})


def _metadata(numbers: range) -> BlockMetadata:
    size = len(numbers) * np.int64().nbytes
    return BlockMetadata(num_rows=len(numbers), size_bytes=size, input_files=None, exec_stats=None)


class _ItemReader:
    """The reading actor: item numbers in, one packed item per block out."""

    def __init__(self, plan: StreamPlan, world_size: int) -> None:
        self._plan, self._world_size = plan, world_size
        self._reader = plan.reader()
        self._error: UserError | None = None

    def __call__(self, numbers: pa.Table) -> Iterator[pa.Table]:
        for item in numbers.column(ITEM).to_pylist():
            try:
                rows = self._rows(item)
            except UserError as error:
                self._error = error
                rows = []
            yield pack(rows, self._error)

    def _rows(self, item: int) -> list[Row]:
        """An item's rows; after an error none, so that every rank gets the error next."""
        if self._error:
            return []
        rank = item % self._world_size
        return [
            row
            for update in self._plan.updates_of_item(item, self._world_size)
            for row in self._plan.read(self._reader, update, rank, self._world_size)
        ]
