"""Rows out of token shards: the arithmetic of the order made into tokens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longspan.corpus.batch import Row
from longspan.corpus.manifest import SourceManifest
from longspan.corpus.order import Order, RowPlan
from longspan.corpus.shards import Block, read_block
from longspan.storage import Store


@dataclass(frozen=True)
class _Window:
    """The documents of one window in their order of one epoch."""

    tokens: np.ndarray
    """int32 [tokens]."""
    offsets: np.ndarray
    """int64 [documents + 1]."""
    documents: np.ndarray
    """int64 [documents]: document numbers within the source."""


class RowReader:
    """Reads rows; keeps the windows it read last, since neighbouring rows of a source share one."""

    def __init__(self, store: Store, manifests: Sequence[SourceManifest], order: Order, windows: int | None = None) -> None:
        """``windows``: how many windows to keep, two per source by default."""
        self._store, self._order = store, order
        self._blocks = [manifest.train for manifest in manifests]
        self._first_document = [_first_documents(blocks) for blocks in self._blocks]
        self._windows: OrderedDict[tuple[int, int, int], _Window] = OrderedDict()
        self._kept = windows or 2 * len(self._blocks)
        self.blocks_read = 0

    def read(self, plan: RowPlan) -> Row:
        """The row that a plan describes.

        Raises:
            UserError: a shard is missing or corrupt (it is named).
        """
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        filled = 0
        for piece in self._order.pieces(plan.source, plan.start, plan.length):
            window = self._window(plan.source, piece.epoch, piece.window)
            parts.append(_cut(window, piece.start, piece.stop, filled))
            filled += piece.stop - piece.start
        assert filled == plan.length, f"row {plan.index}: {filled} of {plan.length} tokens"
        tokens, starts, documents, offsets = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Row(plan.index, plan.update, plan.source, tokens, starts, documents, offsets)

    def _window(self, source: int, epoch: int, number: int) -> _Window:
        key = (source, epoch, number)
        if key not in self._windows:
            self._windows[key] = self._load(source, epoch, number)
            if len(self._windows) > self._kept:
                self._windows.popitem(last=False)
        self._windows.move_to_end(key)
        return self._windows[key]

    def _load(self, source: int, epoch: int, number: int) -> _Window:
        blocks = self._order.window_blocks(source, epoch, number)
        data = [read_block(self._store, self._blocks[source][block]) for block in blocks]
        self.blocks_read += len(blocks)
        documents = np.concatenate(
            [self._first_document[source][block] + np.arange(part.documents) for block, part in zip(blocks, data, strict=True)]
        )
        lengths = np.concatenate([np.diff(part.offsets) for part in data])
        tokens = np.concatenate([part.tokens for part in data])
        return _permuted(tokens, lengths, documents, self._order.document_order(source, epoch, number, len(lengths)))


def heldout_rows(store: Store, manifest: SourceManifest, length: int, limit: int) -> list[Row]:
    """Up to ``limit`` rows of held-out documents, in document order; the same ones in every run.

    A source with fewer tokens gives fewer rows, but at least one: it repeats to fill it.
    """
    tokens: list[np.ndarray] = []
    lengths: list[np.ndarray] = []
    total = 0
    for block in manifest.heldout:
        if total >= limit * length:
            break
        data = read_block(store, block)
        tokens.append(data.tokens)
        lengths.append(np.diff(data.offsets))
        total += len(data.tokens)
    count = sum(len(part) for part in lengths)
    window = _permuted(np.concatenate(tokens), np.concatenate(lengths), np.arange(count), np.arange(count))
    if total < length:
        return [_repeated(window, length)]
    rows = min(limit, total // length)
    return [_row(i, *_cut(window, i * length, (i + 1) * length, 0)) for i in range(rows)]


def _row(index: int, tokens: np.ndarray, starts: np.ndarray, documents: np.ndarray, offsets: np.ndarray) -> Row:
    return Row(index, 0, 0, tokens, starts, documents, offsets)


def _repeated(window: _Window, length: int) -> Row:
    total = len(window.tokens)
    parts = [_cut(window, 0, min(total, length - filled), filled) for filled in range(0, length, total)]
    return _row(0, *(np.concatenate(part) for part in zip(*parts, strict=True)))


def _cut(window: _Window, start: int, stop: int, filled: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tokens [start, stop) of a window and its pieces (starts, documents, offsets), placed at ``filled`` in a row."""
    first = int(np.searchsorted(window.offsets, start, side="right")) - 1
    last = int(np.searchsorted(window.offsets, stop, side="left"))
    begins = np.maximum(window.offsets[first:last], start)
    starts = (begins - start + filled).astype(np.int32)
    return window.tokens[start:stop], starts, window.documents[first:last], begins - window.offsets[first:last]


def _permuted(tokens: np.ndarray, lengths: np.ndarray, documents: np.ndarray, order: np.ndarray) -> _Window:
    """The documents in ``order``, one flat copy."""
    begins = np.cumsum(lengths) - lengths
    new_lengths = lengths[order]
    offsets = np.concatenate([[0], np.cumsum(new_lengths)]).astype(np.int64)
    source = np.repeat(begins[order] - offsets[:-1], new_lengths) + np.arange(len(tokens))
    return _Window(tokens[source], offsets, documents[order])


def _first_documents(blocks: Sequence[Block]) -> np.ndarray:
    counts = np.array([block.documents for block in blocks], np.int64)
    return np.cumsum(counts) - counts
