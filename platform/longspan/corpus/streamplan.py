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

ITEM_TOKENS = 2**20
"""Tokens of an item, about: 4 MiB. Ray Data takes milliseconds for each, however small it is."""

GROUP_TOKENS = 2**22
"""Tokens of all ranks' items together, at most: read, a tenth of a second, before one is sent."""


@dataclass(frozen=True)
class StreamPlan:
    """What to stream, for any number of workers.

    The stream consists of items, one after another for every rank: those of a group are for ranks
    0, 1, ... A group covers one update or, where updates are small, several in a row; an item holds
    its rank's rows of these. A group is read as a whole, in the order of the rows, so that no block
    is read more often than the order has it.
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
    item_tokens: int = ITEM_TOKENS
    """Tokens of an item, about; an update is never split."""
    most_items: int = MOST_ITEMS

    @property
    def num_updates(self) -> int:
        """Updates that are left."""
        return self.order.num_updates - self.first_update

    def updates_per_group(self, world_size: int) -> int:
        """How many updates a group covers; the last one may cover fewer."""
        tokens = max(stage.length * stage.rows_per_update for stage in self.order.stages)
        wanted = min(self.item_tokens * world_size, GROUP_TOKENS) // tokens
        most_groups = max(1, self.most_items // world_size)
        return max(1, wanted, -(-self.num_updates // most_groups))

    def num_groups(self, world_size: int) -> int:
        """Groups of the whole stream, each of one item per rank."""
        return -(-self.num_updates // self.updates_per_group(world_size))

    def updates_of_group(self, group: int, world_size: int) -> range:
        """The updates that a group's items have rows of."""
        covered = self.updates_per_group(world_size)
        first = self.first_update + group * covered
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

    def read_group(self, reader: RowReader, group: int, world_size: int) -> list[list[Row]]:
        """A group's items: every rank's rows of its updates.

        Raises:
            UserError: a shard is missing or corrupt (it is named).
        """
        items: list[list[Row]] = [[] for _ in range(world_size)]
        for update in self.updates_of_group(group, world_size):
            for rank, rows in enumerate(items):
                rows += self.read(reader, update, rank, world_size)
        return items

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
