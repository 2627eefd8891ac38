"""Rows of a whole run, however packed: any at once, each epoch whole, wherever lengths change."""

import pickle
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.order.order import Order, Stage
from longspan.order.packs import Lengths
from longspan.shards.manifest import SourceManifest
from longspan.shards.token_shards import read_index
from longspan.storage import Store
from longspan.stream.packed_order import packed_order, stored_packed_order
from longspan.stream.row import PADDING, Row
from longspan.stream.rows import RowReader
from tests.sources import make_source

STAGES = st.lists(
    st.builds(Stage, st.integers(8, 90), st.integers(1, 6), st.integers(0, 30)),
    min_size=1,
    max_size=4,
)


def lengths_of(store: Store, sources: Sequence[SourceManifest]) -> list[Lengths]:
    def lengths(source: SourceManifest) -> Lengths:
        return lambda blocks: np.concatenate(
            [read_index(store, source.train[block]).lengths for block in blocks]
        )

    return [lengths(source) for source in sources]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, tuple[SourceManifest, ...]]:
    store = Store(str(tmp_path_factory.mktemp("packs")))
    return store, (make_source(store, "a", 60, 100, 1), make_source(store, "b", 25, 70, 2))


@settings(max_examples=60, deadline=None)
@given(
    stages=STAGES,
    seed=st.integers(0, 2**40),
    tokens=st.none() | st.integers(50, 2000),
    data=st.data(),
)
def test_every_epoch_gives_every_token_once(
    shards: tuple[Store, tuple[SourceManifest, ...]],
    stages: list[Stage],
    seed: int,
    tokens: int | None,
    data: st.DataObject,
) -> None:
    """Concatenated without `tokens`, else best fit in windows of so many, some sources a row each."""
    store, sources = shards
    blocks = [[block.tokens for block in source.train] for source in sources]
    alone = data.draw(st.tuples(st.booleans(), st.booleans())) if tokens else ()
    order = plain = Order(blocks, [0.6, 0.4], stages, seed, window_blocks=4, alone=alone)
    if tokens:
        order = packed_order(plain, lengths_of(store, sources), tokens)
    assert [order.row(i) for i in range(order.num_rows)] == [
        plain.row(i) for i in range(plain.num_rows)
    ]

    reader = RowReader(store, sources, order)
    rows = [reader.read(order.row(i)) for i in range(order.num_rows)]
    for source, manifest in enumerate(sources):
        mine = [row for row in rows if row.source == source]
        if alone and alone[source]:
            assert all((row.documents != PADDING).sum() == 1 for row in mine)
        check_epochs(mine, lengths_of(store, [manifest])[0](range(len(manifest.train))))

    if rows:
        elsewhere = pickle.loads(pickle.dumps(order))
        index = data.draw(st.integers(0, len(rows) - 1))
        again = RowReader(store, sources, elsewhere).read(elsewhere.row(index))
        for name in ("tokens", "starts", "documents", "offsets", "epochs"):
            assert np.array_equal(getattr(again, name), getattr(rows[index], name))


def check_epochs(rows: list[Row], lengths: np.ndarray) -> None:
    """Rows of one source, in order: a document's tokens once an epoch, and its epochs in turn."""
    given: dict[int, dict[int, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    last = 0
    for row in rows:
        stops = np.append(row.starts[1:], len(row.tokens))
        for number in range(len(row.starts)):
            start, stop = row.starts[number], stops[number]
            document, size = int(row.documents[number]), int(stop - start)
            if document == PADDING:
                assert number == len(row.starts) - 1
                assert not row.tokens[start:stop].any()
                continue
            offset, epoch = int(row.offsets[number]), int(row.epochs[number])
            assert (row.tokens[start:stop] == document).all()
            assert last <= epoch <= last + 1
            last = epoch
            given[epoch][document].append((offset, offset + size))
    for epoch, documents in given.items():
        for document, parts in documents.items():
            parts.sort()
            assert all(a[1] <= b[0] for a, b in pairwise(parts))
            if epoch < last:
                assert sum(stop - start for start, stop in parts) == lengths[document]
        if epoch < last:
            assert len(documents) == len(lengths)


def test_a_document_shorter_than_the_row_is_never_cut(
    shards: tuple[Store, tuple[SourceManifest, ...]],
) -> None:
    store, sources = shards
    blocks = [[block.tokens for block in source.train] for source in sources]
    plain = Order(blocks, [0.6, 0.4], [Stage(64, 4, 40)], 3)
    order = packed_order(plain, lengths_of(store, sources), 400)
    reader = RowReader(store, sources, order)
    for index in range(order.num_rows):
        row = reader.read(order.row(index))
        lengths = lengths_of(store, sources)[row.source](range(len(sources[row.source].train)))
        for document, start, stop in zip(
            row.documents, row.starts, np.append(row.starts[1:], 64), strict=True
        ):
            assert document == PADDING or stop - start == lengths[document]


def test_a_block_is_read_about_once_an_epoch(
    shards: tuple[Store, tuple[SourceManifest, ...]],
) -> None:
    store, sources = shards
    blocks = [[block.tokens for block in source.train] for source in sources]
    stages = [Stage(20, 4, 60), Stage(64, 2, 60)]
    order = packed_order(Order(blocks, [0.6, 0.4], stages, 3), lengths_of(store, sources), 400)
    reader = RowReader(store, sources, order)
    for index in range(order.num_rows):
        reader.read(order.row(index))
    used = 0
    for table, manifest in zip(order.packs, sources, strict=True):
        last = table.stages[-1]
        used += (last.first + len(last.ends)) / table.windows.count * len(manifest.train)
    assert reader.blocks_read <= 1.1 * used


def test_a_later_start_reads_what_the_first_one_laid_out(
    shards: tuple[Store, tuple[SourceManifest, ...]],
) -> None:
    store, sources = shards
    blocks = [[block.tokens for block in source.train] for source in sources]
    order = Order(blocks, [0.6, 0.4], [Stage(20, 4, 60), Stage(64, 2, 60)], 3)
    said: list[str] = []
    first = stored_packed_order(order, store, sources, said.append)
    second = stored_packed_order(order, store, sources, said.append)
    assert len(said) == 1
    (kept,) = store.list("shards/_packs")
    store.write_bytes(kept.path, store.read_bytes(kept.path).replace(b"0", b"1", 1))
    assert stored_packed_order(order, store, sources, said.append).fingerprint == first.fingerprint
    assert len(said) == 2, "what is damaged is laid out anew"
    assert first.fingerprint == second.fingerprint != order.fingerprint
    readers = [RowReader(store, sources, each) for each in (first, second)]
    for index in range(0, order.num_rows, 7):
        one, other = (reader.read(first.row(index)) for reader in readers)
        assert np.array_equal(one.tokens, other.tokens)
