"""Rows hold the documents' tokens in the order's sequence, whole and exactly once an epoch."""

from collections import Counter

import numpy as np
import pytest

from longspan.corpus.manifest import SourceManifest
from longspan.corpus.order import Order, Stage
from longspan.corpus.rows import RowReader, heldout_rows
from longspan.corpus.shards import read_block
from longspan.corpus.stream import StreamPlan, local_batches
from longspan.errors import UserError
from longspan.storage import Store

STAGES = (Stage(32, 8, 20), Stage(128, 2, 20))


def order_of(sources: tuple[SourceManifest, ...], stages: tuple[Stage, ...] = STAGES) -> Order:
    return Order(
        [[b.tokens for b in s.train] for s in sources], [0.7, 0.3], stages, seed=5, window_blocks=3
    )


def test_pieces_say_where_their_tokens_come_from(
    store: Store, sources: tuple[SourceManifest, ...]
) -> None:
    order = order_of(sources)
    reader = RowReader(store, sources, order)
    for index in range(order.num_rows):
        row = reader.read(order.row(index))
        ends = np.append(row.starts[1:], len(row.tokens))
        assert row.starts[0] == 0
        for start, end, document in zip(row.starts, ends, row.documents, strict=True):
            assert (row.tokens[start:end] == document).all()


def test_an_epoch_gives_every_token_of_every_document_once(
    store: Store, sources: tuple[SourceManifest, ...]
) -> None:
    source = sources[1]
    order = Order(
        [[b.tokens for b in source.train]], [1.0], (Stage(32, 1, 200),), seed=0, window_blocks=2
    )
    reader = RowReader(store, (source,), order)
    tokens = np.concatenate([reader.read(order.row(i)).tokens for i in range(order.num_rows)])
    written = Counter(
        np.concatenate([read_block(store, block).tokens for block in source.train]).tolist()
    )
    total = source.train_tokens
    first, second = tokens[:total], tokens[total : 2 * total]
    assert Counter(first.tolist()) == written
    assert Counter(second.tolist()) == written
    assert not np.array_equal(first, second), "the second epoch has an order of its own"


def test_a_document_longer_than_a_row_goes_on_in_a_later_one(
    store: Store, sources: tuple[SourceManifest, ...]
) -> None:
    order = Order([[b.tokens for b in sources[0].train]], [1.0], (Stage(16, 1, 300),), seed=0)
    reader = RowReader(store, sources[:1], order)
    rows = [reader.read(order.row(i)) for i in range(order.num_rows)]
    continued = 0
    for before, after in zip(rows, rows[1:], strict=False):
        if after.offsets[0]:
            held = len(before.tokens) - before.starts[-1]
            assert after.documents[0] == before.documents[-1]
            assert after.offsets[0] == before.offsets[-1] + held
            continued += 1
    assert continued > 100


def test_a_block_is_read_about_once_an_epoch(
    store: Store, sources: tuple[SourceManifest, ...]
) -> None:
    order = order_of(sources)
    reader = RowReader(store, sources, order)
    for index in range(order.num_rows):
        reader.read(order.row(index))
    needed = sum(order.epochs(i) * len(source.train) for i, source in enumerate(sources))
    window = 3
    assert reader.blocks_read <= needed + window * len(sources)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 16])
def test_batches_hold_the_same_rows_for_any_number_of_workers(
    store: Store, sources: tuple[SourceManifest, ...], world_size: int
) -> None:
    plan = StreamPlan(store, sources, order_of(sources), first_update=0, document_mask=True)
    reader = RowReader(store, sources, plan.order)
    ranks = [local_batches(plan, rank, world_size) for rank in range(world_size)]
    for update, parts in enumerate(zip(*ranks, strict=True)):
        indices = np.concatenate([part.indices for part in parts])
        real = indices >= 0
        rows = plan.order.rows_of_update(update)
        assert indices[real].tolist() == [row.index for row in rows]
        tokens = np.concatenate([part.tokens for part in parts])[real]
        assert np.array_equal(tokens, np.stack([reader.read(row).tokens for row in rows]))
        assert (np.concatenate([part.labels for part in parts])[~real] == -100).all()


def test_a_restart_goes_on_where_it_was(store: Store, sources: tuple[SourceManifest, ...]) -> None:
    whole = StreamPlan(store, sources, order_of(sources), 0, True)
    late = StreamPlan(store, sources, order_of(sources), 25, True)
    expected = list(local_batches(whole, 1, 2))[25:]
    for one, other in zip(local_batches(late, 1, 2), expected, strict=True):
        assert np.array_equal(one.tokens, other.tokens)
        assert np.array_equal(one.positions, other.positions)
        assert one.update == other.update


def test_a_corrupt_shard_is_named(store: Store, sources: tuple[SourceManifest, ...]) -> None:
    shard = sources[0].train[0].shard
    data = bytearray(store.read_bytes(shard))
    data[len(data) // 3] ^= 1
    store.write_bytes(shard, bytes(data))
    order = order_of(sources)
    reader = RowReader(store, sources, order)
    with pytest.raises(UserError, match="a/train.parquet"):
        for index in range(order.num_rows):
            reader.read(order.row(index))


def test_heldout_rows_are_the_same_each_time_and_never_none(
    store: Store, sources: tuple[SourceManifest, ...]
) -> None:
    rows = heldout_rows(store, sources[0], length=64, limit=3)
    again = heldout_rows(store, sources[0], length=64, limit=3)
    assert len(rows) == 3
    assert all(np.array_equal(a.tokens, b.tokens) for a, b in zip(rows, again, strict=True))
    (long,) = heldout_rows(store, sources[0], length=5000, limit=3)
    assert len(long.tokens) == 5000
    assert long.documents.max() < 20
