"""Rows to the training workers through Ray Data, in the global order.

One pipeline feeds all ranks: numbers of groups, turned into items (see :class:`StreamPlan`) by an
actor that keeps the windows of shards it reads, dealt round-robin to the ranks in blocks of one item.
What keeps the order and the pace, each verified by the tests of this module:

- `preserve_order`: blocks leave every operator in the order of its inputs, and the splitter deals
  them to the ranks in turn.
- `target_max_block_size = 1` byte: Ray Data cuts blocks larger than that, but never a row, so each
  block is one item, without an operator that repartitions.
- one task in flight per reader: with more, Ray Data's scheduling loop waits 0.1 s at every turn for
  the ones that have not begun; one gives several times as many items a second.
- the numbers of groups and the reading are fused into one operator that asks for no CPU: a
  cluster whose CPUs are all taken by training workers still feeds them.
- `resource_limits.object_store_memory` bounds what is read ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from ray.data import ActorPoolStrategy, DataIterator, ExecutionResources, read_datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.train import DataConfig

from longspan.errors import UserError
from longspan.parallel.arrangement import arrange
from longspan.runtime.pool import selector
from longspan.stream.batch import Batch
from longspan.stream.items import pack, unpack
from longspan.stream.plan import StreamPlan, local_batches
from longspan.stream.row import Row

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["OrderedDataConfig", "StreamPlan", "batches", "dataset", "local_batches"]

GROUPS_PER_TASK = 256
"""Groups of one reading task: what is read again when a reader dies, at most."""

MOST_TASKS = 4096
"""Tasks are made when the stream starts, so a long run has longer ones."""

LEAST_LOOK_AHEAD = 16 * 2**20
"""Bytes that may always be read ahead, however small the updates."""

BYTES_PER_TOKEN = 6
"""The token itself takes 4; the rest is for the facts of pieces, 24 bytes each."""

GROUP = "group"


def dataset(plan: StreamPlan, world_size: int, pool: str | None = None) -> Dataset:
    """The lazy Ray Data pipeline of a plan's items, for `streaming_split(world_size)`.

    It reads on a pool's nodes, or on any.
    """
    numbers = _GroupNumbers(plan.num_groups(world_size))
    stream = read_datasource(
        numbers, num_cpus=0, override_num_blocks=len(numbers.tasks())
    ).map_batches(
        _Reader,
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
    options.label_selector = selector(pool) or None
    options.resource_limits = ExecutionResources(
        object_store_memory=_look_ahead_bytes(plan, world_size)
    )
    return stream


class OrderedDataConfig(DataConfig):
    """Hands the stream to Ray Train's workers; built anew at every start of the worker group.

    Only then is the number of workers known, and the run's latest checkpoint may be another one.
    The datasets given to the trainer are placeholders: only their names count.
    """

    def __init__(self, plan: Callable[[], StreamPlan], pool: str | None = None) -> None:
        """Nothing is read yet.

        Args:
            plan: called at each start, for the first update that the latest checkpoint asks for, in an
                actor of Ray Train's, on the node of the run's controller.
            pool: whose nodes read; any when None.
        """
        super().__init__()
        self._plan, self._pool = plan, pool

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
            plan = self._plan()
            stream = dataset(plan, world_size, self._pool)
            stream.set_name(name)
            seats = chain.from_iterable(arrange(worker_node_ids, plan.sequence_parallel))
            splits = stream.streaming_split(world_size, equal=False)
            for rank, split in zip(seats, splits, strict=True):
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
        for group in range(plan.num_groups(world_size)):
            table = next(items, None)
            assert table is not None, f"rank {rank}: the stream ended before group {group}"
            updates = plan.updates_of_group(group, world_size)
            yield from plan.batches(unpack(table), updates, rank, world_size)
        assert next(items, None) is None, f"rank {rank}: the stream goes on after its last item"


def _tables(iterator: DataIterator) -> Generator[pa.Table]:
    """Blocks of one item; closing it tells the stream that this rank takes no more."""
    yield from iterator.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2)


def _look_ahead_bytes(plan: StreamPlan, world_size: int) -> int:
    """Room for the updates asked for, and never for less than every rank's item and its next two.

    With less room the stream would wait for ranks that wait for the last rank's item.
    """
    tokens = max(stage.length * stage.rows_per_update for stage in plan.order.stages)
    updates = max(plan.look_ahead, 3 * plan.updates_per_group(world_size))
    # Ranks that share rows get a copy each.
    size = updates * tokens * plan.sequence_parallel * BYTES_PER_TOKEN
    return max(size, LEAST_LOOK_AHEAD)


class _GroupNumbers(Datasource):
    """The numbers 0 .. groups - 1, in a moderate number of tasks however many there are."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self._groups = groups

    def get_name(self) -> str:
        return "Groups"

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def tasks(self) -> list[range]:
        size = max(GROUPS_PER_TASK, -(-self._groups // MOST_TASKS))
        return [
            range(first, min(first + size, self._groups)) for first in range(0, self._groups, size)
        ]

    def get_read_tasks(self, parallelism: int, *args: Any, **kwargs: Any) -> list[ReadTask]:
        return [
            ReadTask(lambda numbers=numbers: [_number_table(numbers)], _metadata(numbers))
            for numbers in self.tasks()
        ]


def _number_table(numbers: range) -> pa.Table:
    return pa.table({GROUP: np.arange(numbers.start, numbers.stop)})


def _metadata(numbers: range) -> BlockMetadata:
    size = len(numbers) * np.int64().nbytes
    return BlockMetadata(num_rows=len(numbers), size_bytes=size, input_files=None, exec_stats=None)


class _Reader:
    """The reading actor: numbers of groups in, their items out, each packed as one block."""

    def __init__(self, plan: StreamPlan, world_size: int) -> None:
        self._plan, self._world_size = plan, world_size
        self._reader = plan.reader()
        self._error: UserError | None = None

    def __call__(self, numbers: pa.Table) -> Iterator[pa.Table]:
        for group in numbers.column(GROUP).to_pylist():
            for rows in self._items(group):
                yield pack(rows, self._error)

    def _items(self, group: int) -> Sequence[Sequence[Row]]:
        """A group's rows, per rank; after an error none, so that every rank gets the error next."""
        if not self._error:
            try:
                return self._plan.read_group(self._reader, group, self._world_size)
            except UserError as error:
                self._error = error
        return [[] for _ in range(self._world_size)]
