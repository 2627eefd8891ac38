"""What is streamed to whom: the same batches whether Ray carries them or each rank reads alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from longspan.order.order import Order
from longspan.shards.manifest import SourceManifest
from longspan.storage import Store
from longspan.stream.batch import Batch, TokenWeights, collate, rank_share
from longspan.stream.row import Rows
from longspan.stream.rows import RowReader

MOST_ITEMS = 2**19
"""Items of one stream. Ray Data keeps about 3 kB per block until a stream ends: under 2 GB."""

ITEM_TOKENS = 2**20
"""Tokens of an item, about: 4 MiB. Ray Data takes milliseconds for each, however small it is."""

GROUP_TOKENS = 2**22
"""Tokens of all ranks' items together, at most: read, a tenth of a second, before one is sent."""

LOCAL_TOKENS = 2**17
"""Tokens that a rank reads together when it reads alone, about; small enough for a cache."""


@dataclass(frozen=True)
class StreamPlan:
    """What to stream, for any number of workers.

    The stream consists of items, one after another for every rank: those of a group are for ranks
    0, 1, ... A group covers one update or, where updates are small, several in a row; an item holds
    its rank's rows of these. A group is read as a whole, in the order of the rows, so that no block
    is read more often than the order has it.

    Where workers share rows, ranks 0 .. n - 1 are those of the first workers that share, and so on: the seats of
    `longspan.parallel.groups.SequenceGroup`. They all get the same rows.
    """

    store: Store
    manifests: tuple[SourceManifest, ...]
    order: Order
    first_update: int
    document_mask: bool
    weights: TokenWeights | None = None
    """What tokens count in the loss; None is all the same."""
    readers: int = 1
    """Actors that read shards."""
    look_ahead: int = 4
    """Updates read ahead of the slowest rank, about."""
    item_tokens: int = ITEM_TOKENS
    """Tokens of an item, about; an update is never split."""
    most_items: int = MOST_ITEMS
    sequence_parallel: int = 1
    """Workers that share each row."""

    @property
    def num_updates(self) -> int:
        """Updates that are left."""
        return self.order.num_updates - self.first_update

    def updates_per_group(self, world_size: int) -> int:
        """How many updates a group covers; the last one may cover fewer."""
        tokens = max(stage.length * stage.rows_per_update for stage in self.order.stages)
        sharing = self.sequence_parallel
        wanted = min(self.item_tokens * world_size, GROUP_TOKENS) // (tokens * sharing)
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

    def indices(self, update: int, rank: int, world_size: int) -> range:
        """Global numbers of a rank's rows of an update; there may be none."""
        first = self.order.first_row_of_update(update)
        share = self._share(update, rank, world_size)[0]
        return range(first + share.start, first + share.stop)

    def _share(self, update: int, rank: int, world_size: int) -> tuple[range, int]:
        """See `rank_share`; ranks that share rows count as one."""
        sharing = self.sequence_parallel
        assert world_size % sharing == 0, f"{world_size} ranks, of which {sharing} share rows"
        rows = self.order.stage_of_update(update).rows_per_update
        return rank_share(rows, rank // sharing, world_size // sharing)

    def reader(self) -> RowReader:
        """A reader of this plan's rows."""
        return RowReader(self.store, self.manifests, self.order)

    def read(self, reader: RowReader, updates: range, rank: int, world_size: int) -> Rows:
        """A rank's rows of some updates.

        Raises:
            UserError: a shard is missing or corrupt (it is named).
        """
        shares = [self.indices(update, rank, world_size) for update in updates]
        return reader.read_many(np.concatenate([np.arange(s.start, s.stop) for s in shares]))

    def read_group(self, reader: RowReader, group: int, world_size: int) -> list[Rows]:
        """A group's items: every rank's rows of its updates.

        Raises:
            UserError: a shard is missing or corrupt (it is named).
        """
        updates = self.updates_of_group(group, world_size)
        rows = replace(self, sequence_parallel=1).read(reader, updates, 0, 1)
        first = self.order.first_row_of_update(updates[0])
        items: list[list[Rows]] = [[] for _ in range(world_size)]
        for update in updates:
            for rank, parts in enumerate(items):
                share = self.indices(update, rank, world_size)
                parts.append(rows[share.start - first : share.stop - first])
        return [Rows.joined(parts) for parts in items]

    def batches(self, rows: Rows, updates: range, rank: int, world_size: int) -> Iterator[Batch]:
        """A rank's batches of some updates from their rows, each checked against the order.

        Of the ranks that share rows only the first one's batches state them for the record.
        """
        is_first = rank % self.sequence_parallel == 0
        taken = 0
        for update in updates:
            expected = self.indices(update, rank, world_size)
            mine = rows[taken : taken + len(expected)]
            assert mine.indices.tolist() == list(expected), (
                f"update {update}, rank {rank}: rows {mine.indices.tolist()}, not {expected}"
            )
            taken += len(mine)
            stage = self.order.stage_of_update(update)
            share = self._share(update, rank, world_size)[1]
            batch = collate(update, mine, share, stage.length, self.document_mask, self.weights)
            yield batch if is_first else replace(batch, rows=())
        assert taken == len(rows), f"rank {rank}: {len(rows) - taken} rows beyond {updates}"


def local_batches(plan: StreamPlan, rank: int, world_size: int) -> Iterator[Batch]:
    """A rank's batches without Ray, read in this process.

    Raises:
        UserError: a shard is missing or corrupt (it is named).
    """
    reader = plan.reader()
    tokens = max(stage.length * stage.rows_per_update for stage in plan.order.stages)
    together = max(1, LOCAL_TOKENS * world_size // (tokens * plan.sequence_parallel))
    for first in range(plan.first_update, plan.order.num_updates, together):
        updates = range(first, min(first + together, plan.order.num_updates))
        yield from plan.batches(
            plan.read(reader, updates, rank, world_size), updates, rank, world_size
        )
