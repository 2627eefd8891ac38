"""Best-fit packing: whole documents into rows, cutting only those that are longer than a row.

Concatenation cuts a document wherever a row ends. Here, as in H. Ding et al. (arXiv 2404.10830),
documents longer than a row are cut into rows; what remains of them and all the others are placed
where they fit best. Two things are added, for less padding than best-fit decreasing leaves:

- a row takes the longest documents that fit, but is closed with one or two that fill it exactly
  where there are such;
- what remains of documents that are cut anyway is cut once more where that fills a row.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Method = Literal["concatenate", "best_fit"]
Cut = tuple[int, int]
"""(row length, rows): what an earlier stage of the length schedule took from a window."""

SMALLEST_CUT = 64
"""Room in a row for which a document's remainder is not cut: shorter pieces teach little."""


@dataclass(frozen=True)
class Spans:
    """Parts of documents, side by side; all int64 [spans].

    Attributes:
        documents: number of the document in its window.
        starts: the part's first token in the document.
        stops: the token after its last.
    """

    documents: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    @classmethod
    def whole(cls, lengths: np.ndarray) -> Spans:
        """Documents of these lengths."""
        lengths = np.asarray(lengths, np.int64)
        return cls(np.arange(len(lengths)), np.zeros(len(lengths), np.int64), lengths)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of every part."""
        return self.stops - self.starts

    def __getitem__(self, chosen: np.ndarray | slice) -> Spans:
        return Spans(self.documents[chosen], self.starts[chosen], self.stops[chosen])


@dataclass(frozen=True)
class Packed:
    """Rows of one window; row r holds spans[ends[r - 1] : ends[r]], in order of their documents.

    Attributes:
        spans: the rows' parts of documents, row after row.
        ends: int64 [rows].
    """

    spans: Spans
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    def row(self, number: int) -> Spans:
        """What a row holds."""
        return self.spans[slice(int(self.ends[number - 1]) if number else 0, self.ends[number])]

    def without(self, rows: np.ndarray) -> Spans:
        """What the rows not among `rows` hold, in order of the documents, adjoining parts joined."""
        row_of = np.repeat(np.arange(len(self)), np.diff(self.ends, prepend=0))
        return _joined(self.spans[~np.isin(row_of, rows)])


def best_fit(spans: Spans, length: int) -> Packed:
    """Place parts of documents into rows of `length` tokens.

    Deterministic; of equally long parts the first comes first.
    """
    full = spans.lengths // length
    rest = Spans(spans.documents, spans.starts + full * length, spans.stops)
    whole = np.flatnonzero((full == 0) & (rest.lengths > 0))
    remainders = np.flatnonzero((full > 0) & (rest.lengths > 0))
    row_of, room = _place(rest.lengths[whole].tolist(), length)
    pieces, piece_rows = _fill(rest[remainders], room, length)
    held = _concatenated([_rows_of(spans, full, length), rest[whole], pieces])
    first = int(full.sum())
    row_of = np.concatenate([np.arange(first), first + row_of, first + piece_rows])
    order = np.lexsort((held.starts, held.documents, row_of))
    return Packed(held[order], np.cumsum(np.bincount(row_of)))


def one_document_per_row(spans: Spans, length: int) -> Packed:
    """Every part of a document in a row of its own; one that is longer than a row takes several."""
    rows = -(-spans.lengths // length)
    source = np.repeat(np.arange(len(rows)), rows)
    number = np.arange(len(source)) - np.repeat(np.cumsum(rows) - rows, rows)
    starts = spans.starts[source] + number * length
    stops = np.minimum(starts + length, spans.stops[source])
    cut = Spans(spans.documents[source], starts, stops)
    return Packed(cut, np.arange(1, len(source) + 1))


def documents_cut(lengths: np.ndarray, length: int, method: Method) -> tuple[int, int]:
    """How many documents of a stream rows of `length` tokens cut.

    Args:
        lengths: int64 [documents], in their order.
        length: tokens per row.
        method: how rows are made of them.

    Returns:
        Those no longer than a row, and those that are longer.
    """
    lengths = np.asarray(lengths, np.int64)
    long = int(np.count_nonzero(lengths > length))
    if method == "best_fit":
        return 0, long
    ends = np.cumsum(lengths)
    over_a_border = (ends - lengths) // length != (ends - 1) // length
    return int(np.count_nonzero(over_a_border & (lengths <= length))), long


def _rows_of(spans: Spans, full: np.ndarray, length: int) -> Spans:
    """The whole rows that parts begin with: so many of each."""
    source = np.repeat(np.arange(len(full)), full)
    number = np.arange(len(source)) - np.repeat(np.cumsum(full) - full, full)
    starts = spans.starts[source] + number * length
    return Spans(spans.documents[source], starts, starts + length)


def _place(sizes: Sequence[int], length: int) -> tuple[np.ndarray, list[int]]:
    """The row of every size (all in 1 .. length), and the room that is left in every row."""
    waiting: dict[int, deque[int]] = {}
    for number, size in enumerate(sizes):
        waiting.setdefault(size, deque()).append(number)
    known = sorted(waiting)
    there = np.zeros(length + 1, bool)
    there[known] = True
    row_of = np.empty(len(sizes), np.int64)
    rooms: list[int] = []

    def take(size: int) -> None:
        row_of[waiting[size].popleft()] = len(rooms)
        if not waiting[size]:
            del known[bisect_left(known, size)]
            there[size] = False

    while known:
        room = length
        while known and room >= known[0]:
            for size in _closing(room, known, there, waiting):
                take(size)
                room -= size
        rooms.append(room)
    return row_of, rooms


def _closing(
    room: int, known: Sequence[int], there: np.ndarray, waiting: dict[int, deque[int]]
) -> tuple[int, ...]:
    """What to put into a row next: one or two that fill it, or the longest that fits."""
    largest = known[bisect_right(known, room) - 1]
    if largest == room or room > 2 * largest:
        return (largest,)
    # The longer of two that fill the room together, so that short ones are left for later.
    half = (room + 1) // 2
    pairs = there[half : largest + 1] & there[room - largest : room - half + 1][::-1]
    for found in np.flatnonzero(pairs)[::-1][:2].tolist():
        longer = half + found
        if 2 * longer != room or len(waiting[longer]) > 1:
            return longer, room - longer
    return (largest,)


def _fill(remainders: Spans, rooms: list[int], length: int) -> tuple[Spans, np.ndarray]:
    """Cut remainders, one after another, so that they fill the rooms, the largest first.

    Returns:
        The pieces, and their rows: those of the rooms, and new ones after these.
    """
    free = deque(sorted((-room, row) for row, room in enumerate(rooms) if room >= SMALLEST_CUT))
    rows = len(rooms)
    room = row = 0
    cut: list[tuple[int, int, int, int]] = []
    columns = (remainders.documents, remainders.starts, remainders.stops)
    for document, start, stop in zip(*(column.tolist() for column in columns), strict=True):
        while start < stop:
            if room == 0:
                if free:
                    room, row = free.popleft()
                    room = -room
                else:
                    room, row, rows = length, rows, rows + 1
            taken = min(room, stop - start)
            cut.append((document, start, start + taken, row))
            start, room = start + taken, room - taken
    found = np.array(cut, np.int64).reshape(-1, 4)
    return Spans(found[:, 0], found[:, 1], found[:, 2]), found[:, 3]


def _concatenated(parts: Sequence[Spans]) -> Spans:
    """One after another."""
    return Spans(
        np.concatenate([part.documents for part in parts]),
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.stops for part in parts]),
    )


def _joined(spans: Spans) -> Spans:
    """In order of documents and tokens, parts that adjoin made one."""
    spans = spans[np.lexsort((spans.starts, spans.documents))]
    follows = np.zeros(len(spans.documents), bool)
    follows[1:] = (spans.documents[1:] == spans.documents[:-1]) & (
        spans.starts[1:] == spans.stops[:-1]
    )
    first = np.flatnonzero(~follows)
    last = np.append(first[1:], len(follows)) - 1
    return Spans(spans.documents[first], spans.starts[first], spans.stops[last[: len(first)]])
