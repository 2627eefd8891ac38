"""Best-fit packing: whole documents into rows, cutting only those that are longer than a row.

Concatenation cuts a document wherever a row ends. Here documents longer than a row are cut into
rows first; then what is left of them and all the others are placed, longest first, each into the
fullest row that still has room (best-fit decreasing; H. Ding et al., arXiv 2404.10830, section 3).
What no document fits into is padding.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Method = Literal["concatenate", "best_fit"]
Cut = tuple[int, int]
"""(row length, rows): what an earlier stage of the length schedule took from a window."""


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
    """Place parts of documents into as few rows of `length` tokens as best-fit decreasing finds.

    Deterministic: of equally long parts the first comes first, of equally full rows the last begun.
    """
    pieces = _cut(spans, length)
    sizes = pieces.lengths
    by_size = np.argsort(-sizes, kind="stable")
    row_of = np.empty(len(sizes), np.int64)
    # A piece of a whole row needs no search.
    full = int(np.count_nonzero(sizes == length))
    row_of[by_size[:full]] = np.arange(full)
    rest = by_size[full:]
    row_of[rest] = full + _place(sizes[rest].tolist(), length)
    order = np.lexsort((pieces.starts, pieces.documents, row_of))
    rows = int(row_of.max(initial=-1)) + 1
    return Packed(pieces[order], np.cumsum(np.bincount(row_of, minlength=rows)))


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


def _cut(spans: Spans, length: int) -> Spans:
    """Parts longer than a row as rows and a remainder."""
    counts = -(-spans.lengths // length)
    source = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = spans.starts[source] + number * length
    return Spans(spans.documents[source], starts, np.minimum(starts + length, spans.stops[source]))


def _place(sizes: Sequence[int], length: int) -> np.ndarray:
    """The row of every size; they fall, and none is 0 or above `length`."""
    rows_with: dict[int, list[int]] = {}
    """Rows by the room that they have, and what rooms there are, rising."""
    rooms: list[int] = []
    row_of = np.empty(len(sizes), np.int64)
    rows = 0
    for number, size in enumerate(sizes):
        place = bisect_left(rooms, size)
        if place == len(rooms):
            row, room = rows, length
            rows += 1
        else:
            room = rooms[place]
            row = rows_with[room].pop()
            if not rows_with[room]:
                del rooms[place]
        row_of[number] = row
        if left := room - size:
            known = rows_with.setdefault(left, [])
            if not known:
                insort(rooms, left)
            known.append(row)
    return row_of


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
