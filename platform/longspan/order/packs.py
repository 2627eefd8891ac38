"""Where each row of best-fit packing comes from, for a whole run, without packing it all again.

The blocks of a source are dealt once and for all (seeded) into windows of about `ROWS_PER_WINDOW`
rows; the documents of a window are packed together, so that a window's rows follow from the lengths
of its own documents alone. An epoch permutes the windows, and the rows in each. What has to be
known ahead is only how many rows every window that the run uses gives: see :func:`lay_out`.

When the length schedule changes in the middle of a window, what is left of the window's documents
is packed again at the new length, so that an epoch still gives every token once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from longspan.order.packing import Cut, Packed, Spans, best_fit, one_document_per_row
from longspan.order.permutation import permutation

ROWS_PER_WINDOW = 1024
"""The last row of a window is half full on average: with so many that is 0.05 % of padding."""

WINDOW_TOKENS = (2**23, 2**27)
"""Fewest tokens of a window, and most: 0.5 GiB of the memory of what reads them."""

DEALT = 2**32
"""In the place of an epoch's number, in the key of the permutation that belongs to none."""

Lengths = Callable[[Sequence[int]], np.ndarray]
"""The lengths, int64 [documents], of the documents in some blocks, block after block."""


def window_tokens(longest_row: int) -> int:
    """Tokens of a window, for rows of up to so many tokens."""
    fewest, most = WINDOW_TOKENS
    return min(max(ROWS_PER_WINDOW * longest_row, fewest), most)


class Windows:
    """The windows of one source.

    Attributes:
        count: windows of an epoch.
        size: blocks of a window; the last one may have fewer.
    """

    def __init__(
        self,
        block_tokens: Sequence[int],
        window_tokens: int,
        seed: int,
        source: int,
        alone: bool = False,
    ) -> None:
        """Deal a source's blocks into windows of about `window_tokens`.

        Args:
            block_tokens: tokens of each block.
            window_tokens: of a window, about.
            seed: of the permutations.
            source: the source's number.
            alone: whether each document has a row of its own.
        """
        self.pack = one_document_per_row if alone else best_fit
        self._key = (seed, source)
        self._dealt = permutation((*self._key, DEALT, 0), len(block_tokens))
        mean = max(1.0, sum(block_tokens) / len(block_tokens))
        self.size = max(1, round(window_tokens / mean))
        self.count = -(-len(block_tokens) // self.size)

    def blocks(self, window: int) -> list[int]:
        """Numbers of a window's blocks, in its order."""
        return self._dealt[window * self.size : (window + 1) * self.size].tolist()

    def at(self, place: int) -> tuple[int, int]:
        """Epoch and window of a place in the sequence of windows over all epochs."""
        epoch, place = divmod(place, self.count)
        return epoch, int(permutation((*self._key, epoch, 0), self.count)[place])

    def rows(self, spans: Spans, length: int, epoch: int, window: int) -> tuple[Packed, np.ndarray]:
        """Rows of parts of a window's documents, and the order in which the epoch gives them."""
        packed = self.pack(spans, length)
        return packed, permutation((*self._key, epoch, 1 + window), len(packed))

    def left(self, lengths: np.ndarray, cuts: Sequence[Cut], epoch: int, window: int) -> Spans:
        """What is left of a window's documents after earlier stages have taken rows from it."""
        spans = Spans.whole(lengths)
        for length, taken in cuts:
            packed, order = self.rows(spans, length, epoch, window)
            spans = packed.without(order[:taken])
        return spans


@dataclass(frozen=True)
class PackedStage:
    """A source's rows in one stage of the length schedule."""

    first: int
    """Place of the window in which the stage begins, in the sequence over all epochs."""
    cuts: tuple[Cut, ...]
    """What earlier stages took from that window."""
    ends: np.ndarray = field(compare=False)
    """int64 [windows]: the stage's rows up to the end of its first window, its second, ..."""
    padding: int = 0
    """Tokens of padding in these windows."""
    documents: int = 0
    """Documents of these windows."""
    long_documents: int = 0
    """Those of them that are longer than a row, and so are cut."""


@dataclass(frozen=True)
class PackTable:
    """Where a source's rows are: made by :func:`lay_out`."""

    windows: Windows
    stages: tuple[PackedStage, ...]

    def find(self, stage: int, number: int) -> tuple[int, tuple[Cut, ...], int]:
        """Place of the window of a stage's row `number`, what was cut from it, and its row."""
        found = self.stages[stage]
        window = int(np.searchsorted(found.ends, number, side="right"))
        assert window < len(found.ends), f"row {number} in stage {stage} of {found.ends[-1:]}"
        before = int(found.ends[window - 1]) if window else 0
        return found.first + window, () if window else found.cuts, number - before


def lay_out(windows: Windows, stages: Sequence[tuple[int, int]], lengths: Lengths) -> PackTable:
    """Find where a source's rows are; reads the lengths of the windows that are used, once each.

    Args:
        windows: the source's windows.
        stages: row length and number of the source's rows, stage by stage.
        lengths: gives documents' lengths.
    """
    counted: dict[tuple[int, int], _Counted] = {}

    def count(place: int, cuts: tuple[Cut, ...], length: int) -> _Counted:
        epoch, window = windows.at(place)
        if not cuts and (window, length) in counted:
            return counted[window, length]
        sizes = lengths(windows.blocks(window))
        spans = windows.left(sizes, cuts, epoch, window)
        rows = len(windows.pack(spans, length))
        padding = rows * length - int(spans.lengths.sum())
        found = _Counted(rows, padding, len(sizes), int(np.count_nonzero(sizes > length)))
        if not cuts:
            counted[window, length] = found
        return found

    done: list[PackedStage] = []
    place, cuts = 0, ()
    for length, rows in stages:
        first, first_cuts, parts, total = place, cuts, [], 0
        while total < rows:
            parts.append(count(place, cuts, length))
            total += parts[-1].rows
            if total > rows:
                cuts = (*cuts, (length, parts[-1].rows - (total - rows)))
            else:
                place, cuts = place + 1, ()
        done.append(_stage(first, first_cuts, parts))
    return PackTable(windows, tuple(done))


@dataclass(frozen=True)
class _Counted:
    rows: int
    padding: int
    documents: int
    long_documents: int


def _stage(first: int, cuts: tuple[Cut, ...], parts: Sequence[_Counted]) -> PackedStage:
    return PackedStage(
        first,
        cuts,
        np.cumsum([part.rows for part in parts], dtype=np.int64),
        sum(part.padding for part in parts),
        sum(part.documents for part in parts),
        sum(part.long_documents for part in parts),
    )
