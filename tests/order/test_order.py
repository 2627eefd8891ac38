"""The order of rows: what the weights ask for, random access, and each epoch whole."""

import pickle
from collections import defaultdict
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.order.order import Order, Stage

BLOCKS = st.lists(st.integers(1, 50), min_size=1, max_size=20)
SOURCES = st.lists(st.tuples(BLOCKS, st.floats(0.01, 1.0)), min_size=1, max_size=5)
STAGES = st.lists(
    st.builds(Stage, st.integers(1, 64), st.integers(1, 7), st.integers(0, 40)),
    min_size=1,
    max_size=4,
)


@st.composite
def orders(draw: st.DrawFn, growing: bool = False) -> Order:
    sources = draw(SOURCES)
    stages = draw(STAGES)
    if growing:
        stages = sorted(stages, key=lambda stage: stage.length)
    return Order(
        [blocks for blocks, _ in sources],
        [weight for _, weight in sources],
        stages,
        seed=draw(st.integers(0, 2**40)),
        window_blocks=draw(st.integers(1, 4)),
    )


@settings(max_examples=60, deadline=None)
@given(orders(growing=True))
def test_tokens_of_a_source_stay_within_one_row_of_its_weight(order: Order) -> None:
    tokens = np.zeros(len(order.weights), np.int64)
    unit = sum(order.weights)
    for index in range(order.num_rows):
        row = order.row(index)
        tokens[row.source] += row.length
        owed = tokens.sum() * np.array(order.weights) - tokens * unit
        assert np.abs(owed).max() < row.length * unit
    assert order.source_tokens() == tokens.tolist()


@settings(max_examples=60, deadline=None)
@given(orders(), st.data())
def test_any_row_is_what_a_replay_from_the_start_gives(order: Order, data: st.DataObject) -> None:
    replay = []
    cursors: dict[int, int] = defaultdict(int)
    for update in range(order.num_updates):
        stage = order.stage_of_update(update)
        rows = order.rows_of_update(update)
        assert [row.index for row in rows] == [
            len(replay) + i for i in range(stage.rows_per_update)
        ]
        for row in rows:
            assert (row.update, row.length) == (update, stage.length)
            assert row.start == cursors[row.source]
            cursors[row.source] += row.length
        replay += rows
    assert len(replay) == order.num_rows
    elsewhere = pickle.loads(pickle.dumps(order))
    assert elsewhere.fingerprint == order.fingerprint
    if replay:
        index = data.draw(st.integers(0, len(replay) - 1))
        assert elsewhere.row(index) == replay[index]


@settings(max_examples=60, deadline=None)
@given(BLOCKS, st.integers(0, 2**40), st.integers(1, 4), st.integers(1, 97))
def test_an_epoch_has_every_block_and_every_token_once(
    blocks: list[int], seed: int, window_blocks: int, length: int
) -> None:
    order = Order([blocks], [1.0], (Stage(length, 1, 1),), seed, window_blocks)
    epoch_tokens = sum(blocks)
    seen: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for start in range(0, 3 * epoch_tokens, length):
        pieces = order.pieces(0, start, length)
        assert sum(piece.stop - piece.start for piece in pieces) == length
        for piece in pieces:
            seen[piece.epoch, piece.window].append((piece.start, piece.stop))
    for epoch in range(3):
        windows = -(-len(blocks) // window_blocks)
        numbers = [order.window_blocks(0, epoch, window) for window in range(windows)]
        assert sorted(chain(*numbers)) == list(range(len(blocks)))
        for window in range(windows):
            ranges = seen[epoch, window]
            assert ranges[0][0] == 0
            assert ranges[-1][1] == sum(blocks[block] for block in numbers[window])
            assert all(a[1] == b[0] for a, b in pairwise(ranges))


def test_every_seed_source_epoch_and_window_has_a_permutation_of_its_own() -> None:
    def permutations(seed: int) -> list[list[int]]:
        order = Order([[1] * 64, [1] * 64], [0.5, 0.5], (Stage(1, 1, 1),), seed, window_blocks=64)
        blocks = [order.window_blocks(source, epoch, 0) for source in (0, 1) for epoch in (0, 1)]
        documents = [
            order.document_order(source, epoch, window, 64).tolist()
            for source in (0, 1)
            for epoch in (0, 1)
            for window in (0, 1)
        ]
        return blocks + documents

    found = permutations(1) + permutations(2)
    assert len({tuple(one) for one in found}) == len(found) == 24
    assert all(sorted(one) == list(range(64)) for one in found)


def test_the_order_is_the_same_for_good() -> None:
    """If this fails, runs in progress would go on with other data than they began with."""
    order = Order(
        [[5, 9, 4, 7, 6, 8], [3, 3]], [0.7, 0.3], (Stage(4, 5, 2), Stage(10, 2, 2)), 11, 3
    )
    assert [order.row(i).source for i in range(order.num_rows)] == SOURCES_FOR_GOOD
    assert [order.window_blocks(0, 1, window) for window in (0, 1)] == BLOCKS_FOR_GOOD
    assert order.document_order(1, 2, 0, 8).tolist() == DOCUMENTS_FOR_GOOD
    assert order.fingerprint == FINGERPRINT_FOR_GOOD


def test_a_fingerprint_tells_orders_apart() -> None:
    facts: dict[str, Any] = {
        "block_tokens": [(5, 6), (1,)],
        "weights": (0.7, 0.3),
        "stages": (Stage(4, 5, 2),),
        "seed": 1,
        "window_blocks": 8,
    }
    changes: list[dict[str, Any]] = [
        {},
        {"block_tokens": [(6, 5), (1,)]},
        {"weights": (0.6, 0.4)},
        {"stages": (Stage(4, 5, 3),)},
        {"seed": 2},
        {"window_blocks": 4},
    ]
    found = {Order(**(facts | change)).fingerprint for change in changes}
    assert len(found) == len(changes)
    assert Order(**(facts | {"weights": (7, 3)})).fingerprint in found


def test_the_last_row_of_a_very_long_run() -> None:
    order = Order([[2**20] * 3000, [2**20] * 7], [0.85, 0.15], (Stage(4096, 1024, 10**5),), seed=3)
    last = order.row(order.num_rows - 1)
    assert last.update == 10**5 - 1
    tokens = 4096 * 1024 * 10**5
    assert order.source_tokens() == [tokens * 85 // 100, tokens * 15 // 100]
    assert order.epochs(1) == pytest.approx(tokens * 0.15 / (7 * 2**20))
    assert order.pieces(last.source, last.start, 4096)


def test_there_is_no_row_beyond_the_last() -> None:
    order = Order([[5]], [1.0], (Stage(4, 2, 3),), seed=0)
    for index in (-1, 6):
        with pytest.raises(IndexError, match=f"row {index} of 6"):
            order.row(index)
    with pytest.raises(IndexError, match="update 3 of 3"):
        order.rows_of_update(3)


SOURCES_FOR_GOOD = [0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0]
BLOCKS_FOR_GOOD = [[4, 3, 1], [0, 2, 5]]
DOCUMENTS_FOR_GOOD = [2, 0, 1, 6, 4, 5, 7, 3]
FINGERPRINT_FOR_GOOD = "73e9edc63e1215f3"
