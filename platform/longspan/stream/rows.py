"""Rows out of token shards: the arithmetic of the order made into tokens."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from longspan.order.order import Order, RowPlan, RowPlans
from longspan.order.packing import Cut, Packed, Spans, best_fit
from longspan.shards.manifest import SourceManifest
from longspan.shards.token_shards import Block, read_block
from longspan.storage import Store
from longspan.stream.pieces import Pieces, interleaved, joined, padded, whole
from longspan.stream.row import Row, Rows

READ_THREADS = 4
"""Blocks of a window that are read at once: a store far away answers each only after a while.

On few cores fewer, for threads that take turns at decoding only slow each other down.
"""


class RowReader:
    """Reads rows; keeps the window it read last of every source, where the source's next row is.

    Attributes:
        blocks_read: how many blocks have been read so far.
    """

    def __init__(self, store: Store, manifests: Sequence[SourceManifest], order: Order) -> None:
        """Nothing is read yet.

        Args:
            store: where the shards are.
            manifests: the sources, as `order` numbers them.
            order: the order of the rows.
        """
        self._store, self._order = store, order
        # Kept: new threads would have to warm the memory pool again at every window.
        self._threads = ThreadPoolExecutor(min(READ_THREADS, 1 + len(os.sched_getaffinity(0))))
        self._blocks = [manifest.train for manifest in manifests]
        self._first_documents = [_first_documents(blocks) for blocks in self._blocks]
        self._windows: dict[int, tuple[tuple[int, int], Pieces]] = {}
        self._packed: dict[int, tuple[object, Packed, np.ndarray]] = {}
        self.blocks_read = 0

    def read(self, plan: RowPlan) -> Row:
        """The row that a plan describes.

        Raises:
            UserError: a shard is missing or corrupt (it is named).
        """
        pieces = self._packed_row(plan) if self._order.packs else self._cut_row(plan)
        row = pieces.row(plan.index, plan.update, plan.source)
        assert row.tokens.shape == (plan.length,), f"{plan}: {row.tokens.shape} tokens"
        return row

    def read_many(self, indices: np.ndarray) -> Rows:
        """The rows of these numbers (int64 [rows], rising), which may be of several stages.

        Raises:
            UserError: a shard is missing or corrupt (it is named).
        """
        if self._order.packs:
            return Rows.of([self.read(self._order.row(index)) for index in indices.tolist()])
        stages = [self._cut_rows(plans) for plans in self._order.rows(indices)]
        return Rows.joined(stages) if stages else Rows.of([])

    def _cut_rows(self, plans: RowPlans) -> Rows:
        """Concatenation: as long as a source's rows follow one another, they are cut as one."""
        given = []
        for source in np.unique(plans.sources).tolist():
            numbers = np.flatnonzero(plans.sources == source)
            starts = plans.starts[numbers]
            runs = np.split(starts, np.flatnonzero(np.diff(starts) != plans.length) + 1)
            cuts = [
                cut
                for run in runs
                for cut in self._cut(source, int(run[0]), len(run) * plans.length)
            ]
            given.append((numbers, joined(cuts).split(plans.length)))
        return interleaved(plans, given)

    def _cut_row(self, plan: RowPlan) -> Pieces:
        """Concatenation: the next tokens of the source's stream."""
        return joined(self._cut(plan.source, plan.start, plan.length))

    def _cut(self, source: int, start: int, length: int) -> list[Pieces]:
        """Tokens of a source's stream, window by window."""
        return [
            self._window(
                source,
                piece.epoch,
                piece.window,
                lambda piece=piece: self._load(source, piece.epoch, piece.window),
            ).cut(piece.start, piece.stop)
            for piece in self._order.pieces(source, start, length)
        ]

    def _packed_row(self, plan: RowPlan) -> Pieces:
        """Best-fit packing: whole documents, and padding for what none fits into."""
        table = self._order.packs[plan.source]
        place, cuts, number = table.find(plan.stage, plan.number)
        epoch, window = table.windows.at(place)
        documents = self._window(
            plan.source, epoch, window, lambda: self._load_dealt(plan.source, epoch, window)
        )
        packed, order = self._rows_of(plan, documents, epoch, window, cuts)
        return padded(documents.parts(packed.row(int(order[number]))), plan.length)

    def _rows_of(
        self, plan: RowPlan, documents: Pieces, epoch: int, window: int, cuts: tuple[Cut, ...]
    ) -> tuple[Packed, np.ndarray]:
        """A window's rows, packed once for all that come from it, and their order."""
        key = (epoch, window, cuts, plan.length)
        kept = self._packed.get(plan.source)
        if kept is None or kept[0] != key:
            windows = self._order.packs[plan.source].windows
            lengths = np.diff(np.append(documents.starts, len(documents.tokens)))
            spans = windows.left(lengths, cuts, epoch, window)
            kept = (key, *windows.rows(spans, plan.length, epoch, window))
            self._packed[plan.source] = kept
        return kept[1:]

    def _window(self, source: int, epoch: int, number: int, load: Callable[[], Pieces]) -> Pieces:
        """The documents of a window: the one kept, or loaded and kept in its place."""
        kept, window = self._windows.get(source, (None, None))
        if window is None or kept != (epoch, number):
            self._windows.pop(source, None)
            window = load()
            self._windows[source] = (epoch, number), window
        return window

    def _load(self, source: int, epoch: int, number: int) -> Pieces:
        """The documents of a window in their order of an epoch."""
        texts, documents = self._documents(source, self._order.window_blocks(source, epoch, number))
        order = self._order.document_order(source, epoch, number, len(texts))
        epochs = np.full(len(texts), epoch, np.int32)
        return whole([texts[i] for i in order.tolist()], documents[order], epochs)

    def _load_dealt(self, source: int, epoch: int, number: int) -> Pieces:
        """The documents of a window of best-fit packing, block after block."""
        blocks = self._order.packs[source].windows.blocks(number)
        texts, documents = self._documents(source, blocks)
        return whole(texts, documents, np.full(len(texts), epoch, np.int32))

    def _documents(self, source: int, numbers: list[int]) -> tuple[list[np.ndarray], np.ndarray]:
        """The documents of some blocks, and their numbers in the source."""
        blocks = list(
            self._threads.map(
                lambda number: read_block(self._store, self._blocks[source][number]), numbers
            )
        )
        self.blocks_read += len(blocks)
        documents = [
            self._first_documents[source][number] + np.arange(block.documents)
            for number, block in zip(numbers, blocks, strict=True)
        ]
        texts = [block.document(i) for block in blocks for i in range(block.documents)]
        return texts, np.concatenate(documents)


def heldout_rows(
    store: Store, manifest: SourceManifest, length: int, limit: int, cut: bool = True
) -> list[Row]:
    """Up to `limit` rows of held-out documents, in their order; the same ones in every run.

    A source with fewer tokens gives fewer rows, but at least one: it repeats to fill that.

    Args:
        store: where the shards are.
        manifest: the source; it has held-out documents.
        length: tokens per row.
        limit: at most so many rows.
        cut: whether documents are cut where a row ends; else they are packed whole, and padded.

    Returns:
        Rows numbered from 0, of update 0 and source 0.

    Raises:
        UserError: a shard is missing or corrupt (it is named).
    """
    texts: list[np.ndarray] = []
    total = 0
    for block in manifest.heldout:
        if total >= limit * length:
            break
        data = read_block(store, block)
        texts += [data.document(i) for i in range(data.documents)]
        total += len(data.tokens)
    assert total, f"source {manifest.name} has no held-out documents"
    pieces = whole(texts, np.arange(len(texts)), np.zeros(len(texts), np.int32))
    if not cut:
        packed = best_fit(Spans.whole(np.array([len(text) for text in texts])), length)
        chosen = range(min(limit, len(packed)))
        return [padded(pieces.parts(packed.row(i)), length).row(i, 0, 0) for i in chosen]
    if total < length:
        cuts = [pieces.cut(0, min(total, length - filled)) for filled in range(0, length, total)]
        return [joined(cuts).row(0, 0, 0)]
    rows = min(limit, total // length)
    return [pieces.cut(i * length, (i + 1) * length).row(i, 0, 0) for i in range(rows)]


def _first_documents(blocks: Sequence[Block]) -> np.ndarray:
    """Number of each block's first document in its source, int64 [blocks]."""
    counts = np.array([block.documents for block in blocks], np.int64)
    return np.cumsum(counts) - counts
