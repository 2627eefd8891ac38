"""Rows of tokens with the documents they are packed from: one, or many side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np

PADDING = -1
"""In the place of a document's number, for tokens that complete a row and are of none."""


@dataclass(frozen=True)
class Row:
    """One row of exactly S tokens, packed from documents or pieces of documents."""

    index: int
    """Global row number."""
    update: int
    source: int
    tokens: np.ndarray
    """int32 [S]."""
    starts: np.ndarray
    """int32 [pieces]: where each piece begins in the row; the first is 0."""
    documents: np.ndarray
    """int64 [pieces]: the piece's document, numbered within its source; PADDING is no document."""
    offsets: np.ndarray
    """int64 [pieces]: the piece's first token, counted in its document."""
    epochs: np.ndarray
    """int32 [pieces]: the epoch of its source that the piece belongs to, from 0."""


@dataclass(frozen=True, eq=False)
class Rows(Sequence[Row]):
    """Rows side by side, possibly of several lengths: each array holds those of all of them.

    What is done with a batch is done to all its rows at once: a call per row would often cost more
    than what it does.
    """

    indices: np.ndarray
    """int64 [rows]."""
    updates: np.ndarray
    """int64 [rows]."""
    sources: np.ndarray
    """int32 [rows]."""
    lengths: np.ndarray
    """int64 [rows]: tokens of each row."""
    pieces: np.ndarray
    """int64 [rows]: pieces of each row."""
    tokens: np.ndarray
    """int32 [tokens]: of all rows, one after another."""
    starts: np.ndarray
    """int32 [pieces]: of all rows; counted in the piece's row."""
    documents: np.ndarray
    """int64 [pieces]."""
    offsets: np.ndarray
    """int64 [pieces]."""
    epochs: np.ndarray
    """int32 [pieces]."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Rows:
        """The same rows side by side; copied unless they are already."""
        if isinstance(rows, Rows):
            return rows
        columns = {
            "indices": [row.index for row in rows],
            "updates": [row.update for row in rows],
            "sources": [row.source for row in rows],
            "lengths": [len(row.tokens) for row in rows],
            "pieces": [len(row.starts) for row in rows],
        } | {name: _flat(getattr(row, name) for row in rows) for name in FLAT}
        return cls(*(np.asarray(columns[name], dtype) for name, dtype in DTYPES.items()))

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """One after another; what is of one part is not copied."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            *(
                np.asarray(_flat(getattr(part, name) for part in parts), dtype)
                for name, dtype in DTYPES.items()
            )
        )

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, chosen: int) -> Row: ...

    @overload
    def __getitem__(self, chosen: slice) -> Rows: ...

    def __getitem__(self, chosen: int | slice) -> Row | Rows:
        """Views of a row, or of rows that follow one another."""
        if isinstance(chosen, slice):
            start, stop, step = chosen.indices(len(self))
            assert step == 1, f"rows at steps of {step}"
            return self._part(start, max(start, stop))
        number = chosen + len(self) if chosen < 0 else chosen
        if not 0 <= number < len(self):
            raise IndexError(f"row {chosen} of {len(self)}")
        one = self._part(number, number + 1)
        index, update, source = int(one.indices[0]), int(one.updates[0]), int(one.sources[0])
        pieces = (one.starts, one.documents, one.offsets, one.epochs)
        return Row(index, update, source, one.tokens, *pieces)

    def _part(self, start: int, stop: int) -> Rows:
        if (start, stop) == (0, len(self)):
            return self
        tokens, pieces = (slice(int(ends[start]), int(ends[stop])) for ends in self._ends)
        places = dict.fromkeys(PER_ROW, slice(start, stop))
        places |= {"tokens": tokens} | dict.fromkeys(PER_PIECE, pieces)
        return Rows(**{name: getattr(self, name)[place] for name, place in places.items()})

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and pieces before each row, and of all."""
        tokens, pieces = (np.zeros(len(self) + 1, np.int64) for _ in range(2))
        np.cumsum(self.lengths, out=tokens[1:])
        np.cumsum(self.pieces, out=pieces[1:])
        return tokens, pieces


PER_ROW = {"indices": "<i8", "updates": "<i8", "sources": "<i4", "lengths": "<i8", "pieces": "<i8"}
PER_PIECE = {"starts": "<i4", "documents": "<i8", "offsets": "<i8", "epochs": "<i4"}
FLAT = {"tokens": "<i4"} | PER_PIECE
DTYPES = PER_ROW | FLAT
"""Of the arrays of `Rows`, in their order; little-endian, as they travel."""


def _flat(arrays: Iterable[np.ndarray]) -> np.ndarray:
    found = list(arrays)
    return np.concatenate(found) if found else np.empty(0)
