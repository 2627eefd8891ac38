"""Rows out of token shards: the arithmetic of the order made into tokens."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from longspan.corpus.batch import Row
from longspan.corpus.manifest import SourceManifest
from longspan.corpus.order import Order, RowPlan
from longspan.corpus.shards import Block, BlockData, read_block
from longspan.storage import Store

READ_THREADS = 4
"""Blocks of a window that are read at once: a store far away answers each only after a while."""


@dataclass(frozen=True)
class _Pieces:
    """Tokens and the documents they are of, side by side."""

    tokens: np.ndarray
    """int32 [tokens]."""
    starts: np.ndarray
    """int64 [pieces]: where each piece begins; the first is 0."""
    documents: np.ndarray
    """int64 [pieces]: document numbers within the source."""
    offsets: np.ndarray
    """int64 [pieces]: the piece's first token, counted in its document."""

    def cut(self, start: int, stop: int) -> _Pieces:
        """Tokens [start, stop); the documents at both ends may be cut."""
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        last = int(np.searchsorted(self.starts, stop, side="left"))
        begins = np.maximum(self.starts[first:last], start)
        offsets = self.offsets[first:last] + begins - self.starts[first:last]
        return _Pieces(self.tokens[start:stop], begins - start, self.documents[first:last], offsets)

    def row(self, index: int, update: int, source: int) -> Row:
        """As a row."""
        starts = self.starts.astype(np.int32)
        return Row(index, update, source, self.tokens, starts, self.documents, self.offsets)


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
        self._blocks = [manifest.train for manifest in manifests]
        self._first_documents = [_first_documents(blocks) for blocks in self._blocks]
        self._windows: dict[int, tuple[tuple[int, int], _Pieces]] = {}
        self.blocks_read = 0

    def read(self, plan: RowPlan) -> Row:
        """The row that a plan describes.

        Raises:
            UserError: a shard is missing or corrupt (it is named).
        """
        pieces = [
            self._window(plan.source, piece.epoch, piece.window).cut(piece.start, piece.stop)
            for piece in self._order.pieces(plan.source, plan.start, plan.length)
        ]
        row = _joined(pieces).row(plan.index, plan.update, plan.source)
        assert row.tokens.shape == (plan.length,), f"{plan}: {row.tokens.shape} tokens"
        return row

    def _window(self, source: int, epoch: int, number: int) -> _Pieces:
        kept, window = self._windows.get(source, (None, None))
        if window is None or kept != (epoch, number):
            self._windows.pop(source, None)
            window = self._load(source, epoch, number)
            self._windows[source] = (epoch, number), window
        return window

    def _load(self, source: int, epoch: int, number: int) -> _Pieces:
        """The documents of a window in their order of an epoch."""
        numbers = self._order.window_blocks(source, epoch, number)
        blocks = _read_blocks(self._store, [self._blocks[source][block] for block in numbers])
        self.blocks_read += len(blocks)
        texts = [block.document(i) for block in blocks for i in range(block.documents)]
        documents = np.concatenate(
            [
                self._first_documents[source][number] + np.arange(block.documents)
                for number, block in zip(numbers, blocks, strict=True)
            ]
        )
        order = self._order.document_order(source, epoch, number, len(texts))
        return _whole([texts[i] for i in order.tolist()], documents[order])


def heldout_rows(store: Store, manifest: SourceManifest, length: int, limit: int) -> list[Row]:
    """Up to `limit` rows of held-out documents, in their order; the same ones in every run.

    A source with fewer tokens gives fewer rows, but at least one: it repeats to fill that.

    Args:
        store: where the shards are.
        manifest: the source; it has held-out documents.
        length: tokens per row.
        limit: at most so many rows.

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
    pieces = _whole(texts, np.arange(len(texts)))
    if total < length:
        cuts = [pieces.cut(0, min(total, length - filled)) for filled in range(0, length, total)]
        return [_joined(cuts).row(0, 0, 0)]
    rows = min(limit, total // length)
    return [pieces.cut(i * length, (i + 1) * length).row(i, 0, 0) for i in range(rows)]


def _read_blocks(store: Store, blocks: Sequence[Block]) -> list[BlockData]:
    with ThreadPoolExecutor(min(READ_THREADS, len(blocks))) as pool:
        return list(pool.map(lambda block: read_block(store, block), blocks))


def _whole(texts: Sequence[np.ndarray], documents: np.ndarray) -> _Pieces:
    """Whole documents, one after another."""
    lengths = np.array([len(text) for text in texts], np.int64)
    starts = np.cumsum(lengths) - lengths
    return _Pieces(np.concatenate(texts), starts, documents, np.zeros_like(starts))


def _joined(parts: Sequence[_Pieces]) -> _Pieces:
    """One after another."""
    lengths = np.array([len(part.tokens) for part in parts], np.int64)
    begins = (np.cumsum(lengths) - lengths).tolist()
    return _Pieces(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.starts + at for part, at in zip(parts, begins, strict=True)]),
        np.concatenate([part.documents for part in parts]),
        np.concatenate([part.offsets for part in parts]),
    )


def _first_documents(blocks: Sequence[Block]) -> np.ndarray:
    """Number of each block's first document in its source, int64 [blocks]."""
    counts = np.array([block.documents for block in blocks], np.int64)
    return np.cumsum(counts) - counts
