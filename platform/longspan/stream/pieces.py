"""Pieces of documents side by side: cut, joined, and made into rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from longspan.order.order import RowPlans
from longspan.order.packing import Spans
from longspan.stream.row import PADDING, Row, Rows


@dataclass(frozen=True)
class Pieces:
    """Tokens and the documents they are of, side by side."""

    tokens: np.ndarray
    """int32 [tokens]."""
    starts: np.ndarray
    """int64 [pieces]: where each piece begins; the first is 0."""
    documents: np.ndarray
    """int64 [pieces]: document numbers within the source."""
    offsets: np.ndarray
    """int64 [pieces]: the piece's first token, counted in its document."""
    epochs: np.ndarray
    """int32 [pieces]."""

    def cut(self, start: int, stop: int) -> Pieces:
        """Tokens [start, stop); the documents at both ends may be cut."""
        first = int(self.starts.searchsorted(start, side="right")) - 1
        last = int(self.starts.searchsorted(stop, side="left"))
        begins = np.maximum(self.starts[first:last], start)
        offsets = self.offsets[first:last] + begins - self.starts[first:last]
        return Pieces(
            self.tokens[start:stop],
            begins - start,
            self.documents[first:last],
            offsets,
            self.epochs[first:last],
        )

    def parts(self, spans: Spans) -> Pieces:
        """Parts of these whole documents."""
        begins = self.starts[spans.documents] + spans.starts
        texts = [
            self.tokens[begin : begin + length]
            for begin, length in zip(begins.tolist(), spans.lengths.tolist(), strict=True)
        ]
        taken = whole(texts, self.documents[spans.documents], self.epochs[spans.documents])
        return replace(taken, offsets=spans.starts)

    def split(self, length: int) -> Pieces:
        """Cut wherever a row of `length` tokens begins."""
        starts = np.union1d(self.starts, np.arange(0, len(self.tokens), length))
        of = self.starts.searchsorted(starts, side="right") - 1
        offsets = self.offsets[of] + starts - self.starts[of]
        return Pieces(self.tokens, starts, self.documents[of], offsets, self.epochs[of])

    def row(self, index: int, update: int, source: int) -> Row:
        """As a row."""
        starts = self.starts.astype(np.int32)
        return Row(
            index, update, source, self.tokens, starts, self.documents, self.offsets, self.epochs
        )


def whole(texts: Sequence[np.ndarray], documents: np.ndarray, epochs: np.ndarray) -> Pieces:
    """Whole documents, one after another."""
    lengths = np.array([len(text) for text in texts], np.int64)
    starts = np.cumsum(lengths) - lengths
    return Pieces(np.concatenate(texts), starts, documents, np.zeros_like(starts), epochs)


def padded(pieces: Pieces, length: int) -> Pieces:
    """Completed to `length` tokens with a piece that is of no document."""
    missing = length - len(pieces.tokens)
    if not missing:
        return pieces
    nothing = np.array([PADDING])
    padding = whole([np.zeros(missing, np.int32)], nothing, np.zeros(1, np.int32))
    return joined([pieces, padding])


def joined(parts: Sequence[Pieces]) -> Pieces:
    """One after another; what is of one piece is not copied."""
    if len(parts) == 1:
        return parts[0]
    lengths = np.array([len(part.tokens) for part in parts], np.int64)
    begins = (np.cumsum(lengths) - lengths).tolist()
    return Pieces(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.starts + at for part, at in zip(parts, begins, strict=True)]),
        np.concatenate([part.documents for part in parts]),
        np.concatenate([part.offsets for part in parts]),
        np.concatenate([part.epochs for part in parts]),
    )


def interleaved(plans: RowPlans, given: Sequence[tuple[np.ndarray, Pieces]]) -> Rows:
    """Rows in their order, from what each source gives: for which of them, and what they hold."""
    numbers = np.concatenate([rows[part.starts // plans.length] for rows, part in given])
    tokens = given[0][1].tokens
    if len(given) > 1:
        tokens = np.empty((len(plans.indices), plans.length), np.int32)
        for rows, part in given:
            tokens[rows] = part.tokens.reshape(-1, plans.length)
    in_order = np.argsort(numbers, kind="stable")

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for _, part in given])[in_order]

    return Rows(
        plans.indices,
        plans.updates,
        plans.sources,
        np.full(len(plans.indices), plans.length),
        np.bincount(numbers, minlength=len(plans.indices)),
        tokens.reshape(-1),
        (column("starts") % plans.length).astype(np.int32),
        column("documents"),
        column("offsets"),
        column("epochs"),
    )
