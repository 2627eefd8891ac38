"""Rows hold the documents' tokens in the order's sequence, whole and exactly once an epoch."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from longspan.errors import UserError
from longspan.order.order import Order, Stage
from longspan.shards.manifest import SourceManifest
from longspan.shards.token_shards import read_block
from longspan.storage import Store
from longspan.stream.row import DTYPES, Rows
from longspan.stream.rows import RowReader, heldout_rows
from tests.sources import corrupt, order_of


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


def test_rows_read_together_are_those_read_one_by_one(
    store: Store, sources: tuple[SourceManifest, ...]
) -> None:
    order = order_of(sources)
    one, many = (RowReader(store, sources, order) for _ in range(2))
    expected = [one.read(order.row(i)) for i in range(order.num_rows)]
    # All, every second row or two of three, across stages, windows and epochs; and none.
    for chosen in ([True], [False, True], [True, True, False], [False]):
        wanted = np.resize(chosen, order.num_rows)
        found = many.read_many(np.flatnonzero(wanted))
        assert len(found) == wanted.sum()
        for index, row in zip(np.flatnonzero(wanted), found, strict=True):
            for name, value in vars(expected[index]).items():
                assert np.array_equal(getattr(row, name), value), (index, name)
                if isinstance(value, np.ndarray):
                    assert getattr(row, name).dtype == value.dtype


def test_parts_of_rows(store: Store, sources: tuple[SourceManifest, ...]) -> None:
    order = order_of(sources)
    rows = RowReader(store, sources, order).read_many(np.arange(150, 170))
    assert [row.index for row in rows[3:17][2:]] == list(range(155, 167))
    assert rows[-1].index == 169
    assert np.array_equal(rows[3:17][2].tokens, rows[5].tokens)
    assert len(rows[20:]) == 0
    again = Rows.joined([rows[:7], rows[7:7], Rows.of(list(rows[7:]))])
    for name in DTYPES:
        assert np.array_equal(getattr(again, name), getattr(rows, name))
        assert getattr(again, name).dtype == getattr(rows, name).dtype == np.dtype(DTYPES[name])


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
    for before, after in pairwise(rows):
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


def test_a_corrupt_shard_is_named(store: Store, sources: tuple[SourceManifest, ...]) -> None:
    corrupt(store, sources[0].train[0].shard)
    order = order_of(sources)
    reader = RowReader(store, sources, order)
    with pytest.raises(UserError, match=r"a/train\.parquet"):
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
