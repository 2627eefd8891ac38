"""What is streamed to whom: the same batches whether Ray carries them or each rank reads alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from longspan.corpus.batch import Batch, Row, collate, rank_share
from longspan.corpus.manifest import SourceManifest
from longspan.corpus.order import Order
from longspan.corpus.rows import RowReader
from longspan.storage import Store

MOST_ITEMS = 2**19
"""Items of one stream. Ray Data keeps about 3 kB per block until a stream ends: under 2 GB."""


@dataclass(frozen=True)
class StreamPlan:
    """What to stream, for any number of workers.

    The stream consists of items. Item j is for rank `j % world_size`; it holds the rank's rows of
    update `first_update + j // world_size`, or of as many updates in a row as keep the number of
    items of a very long run within `MOST_ITEMS`.
    """

    store: Store
    manifests: tuple[SourceManifest, ...]
    order: Order
    first_update: int
    document_mask: bool
    readers: int = 1
    """Actors that read shards."""
    look_ahead: int = 4
    """Updates read ahead of the slowest rank, about."""
    most_items: int = MOST_ITEMS

    @property
    def num_updates(self) -> int:
        """Updates that are left."""
        return self.order.num_updates - self.first_update

    def updates_per_item(self, world_size: int) -> int:
        """How many updates an item covers; the last items may cover fewer."""
        most_per_rank = max(1, self.most_items // world_size)
        return max(1, -(-self.num_updates // most_per_rank))

    def num_items(self, world_size: int) -> int:
        """Items of the whole stream, a multiple of the world size."""
        return -(-self.num_updates // self.updates_per_item(world_size)) * world_size

    def updates_of_item(self, item: int, world_size: int) -> range:
        """The updates that an item has rows of."""
        covered = self.updates_per_item(world_size)
        first = self.first_update + item // world_size * covered
        return range(first, min(first + covered, self.order.num_updates))

    def indices(self, update: int, rank: int, world_size: int) -> list[int]:
        """Global numbers of a rank's rows of an update; there may be none."""
        rows = self.order.stage_of_update(update).rows_per_update
        first = self.order.first_row_of_update(update)
        return [first + number for number in rank_share(rows, rank, world_size)[0]]

    def reader(self) -> RowReader:
        """A reader of this plan's rows."""
        return RowReader(self.store, self.manifests, self.order)

    def read(self, reader: RowReader, update: int, rank: int, world_size: int) -> list[Row]:
        """A rank's rows of an update.

        Raises:
            UserError: a shard is missing or corrupt (it is named).
        """
        return [reader.read(self.order.row(i)) for i in self.indices(update, rank, world_size)]

    def batch(self, rows: Sequence[Row], update: int, world_size: int) -> Batch:
        """One rank's batch of `update` from its rows."""
        stage = self.order.stage_of_update(update)
        share = rank_share(stage.rows_per_update, 0, world_size)[1]
        return collate(update, rows, share, stage.length, self.document_mask)


def local_batches(plan: StreamPlan, rank: int, world_size: int) -> Iterator[Batch]:
    """A rank's batches without Ray, read in this process.

    Raises:
        UserError: a shard is missing or corrupt (it is named).
    """
    reader = plan.reader()
    for update in range(plan.first_update, plan.order.num_updates):
        rows = plan.read(reader, update, rank, world_size)
        yield plan.batch(rows, update, world_size)
