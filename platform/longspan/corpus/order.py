"""The global order of rows: pure arithmetic over (data, weights, stages, seed).

Nothing here depends on the number of workers, on restarts or on time. Three questions are answered
for any row in O(log) time, without replaying the rows before it:

- which source it comes from: a schedule that keeps every source within one row of its weight at
  every prefix (the chairman assignment of Tijdeman, Discrete Mathematics 32, 1980), exact integer
  arithmetic on weights in ten-thousandths, and periodic;
- where in that source it starts: a cursor counted in tokens, so a change of row length keeps it;
- which blocks hold those tokens: per source and epoch a seeded permutation of the blocks, cut into
  windows of a few blocks; within a window the documents are permuted as well (:mod:`.rows`).
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

WEIGHT_UNIT = 10_000


@dataclass(frozen=True)
class Stage:
    """Updates whose rows have one length."""

    length: int
    rows_per_update: int
    updates: int


@dataclass(frozen=True)
class RowPlan:
    """Where one row's tokens come from."""

    index: int
    """Global row number, from 0."""
    update: int
    length: int
    source: int
    start: int
    """First token, counted in the source's endless stream (epochs one after another)."""


@dataclass(frozen=True)
class WindowPiece:
    """Tokens [start, stop) of one window of one epoch of a source."""

    epoch: int
    window: int
    start: int
    stop: int


class Order:
    """The order of all rows of a run."""

    def __init__(
        self,
        block_tokens: Sequence[Sequence[int]],
        weights: Sequence[float],
        stages: Sequence[Stage],
        seed: int,
        window_blocks: int = 8,
    ) -> None:
        """Set up in time and memory proportional to the number of blocks.

        Args:
            block_tokens: tokens of each training block, per source.
            weights: share of the tokens, per source; rounded to ten-thousandths.
            stages: the length schedule.
            seed: seed of the permutations.
            window_blocks: blocks whose documents are permuted together.
        """
        assert len(block_tokens) == len(weights) > 0, f"{len(block_tokens)} sources, {len(weights)} weights"
        assert all(sum(blocks) > 0 for blocks in block_tokens), "a source without training tokens"
        self.stages = tuple(stages)
        self.seed = seed
        self.window_size = window_blocks
        self.weights = integer_weights(weights)
        self._blocks = [np.asarray(blocks, np.int64) for blocks in block_tokens]
        self._epoch_tokens = [int(blocks.sum()) for blocks in self._blocks]
        self._first_row = [0]
        self._first_update = [0]
        self._tables: list[_StageTable] = []
        deficits = [0] * len(weights)
        tokens = [0] * len(weights)
        for stage in self.stages:
            table = _StageTable.build(self.weights, stage, tuple(deficits), tuple(tokens))
            rows = stage.rows_per_update * stage.updates
            self._tables.append(table)
            tokens = [table.tokens_before(source, rows) for source in range(len(weights))]
            deficits = [table.deficit(source, rows) for source in range(len(weights))]
            self._first_row.append(self._first_row[-1] + rows)
            self._first_update.append(self._first_update[-1] + stage.updates)
        self._total_tokens = tokens
        self._window_cache = lru_cache(maxsize=64)(self._epoch_layout)

    def __reduce__(self) -> tuple:
        """Pickle as the arguments: tables and caches are rebuilt."""
        blocks = [blocks.tolist() for blocks in self._blocks]
        weights = [weight / WEIGHT_UNIT for weight in self.weights]
        return Order, (blocks, weights, self.stages, self.seed, self.window_size)

    @property
    def num_rows(self) -> int:
        """Rows of the whole run."""
        return self._first_row[-1]

    @property
    def num_updates(self) -> int:
        """Updates of the whole run."""
        return self._first_update[-1]

    @property
    def fingerprint(self) -> str:
        """Identity of this order: equal fingerprints give equal rows over equal data."""
        facts = {
            "blocks": [hashlib.sha256(blocks.astype("<i8").tobytes()).hexdigest() for blocks in self._blocks],
            "weights": self.weights,
            "stages": [asdict(stage) for stage in self.stages],
            "seed": self.seed,
            "window": self.window_size,
        }
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def row(self, index: int) -> RowPlan:
        """The plan of row ``index``.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= index < self.num_rows:
            raise IndexError(f"row {index} of {self.num_rows}")
        number = bisect_right(self._first_row, index) - 1
        stage, local = self.stages[number], index - self._first_row[number]
        source, start = self._tables[number].row(local)
        update = self._first_update[number] + local // stage.rows_per_update
        return RowPlan(index, update, stage.length, source, start)

    def rows_of_update(self, update: int) -> list[RowPlan]:
        """The global batch of one update, in order."""
        first = self.first_row_of_update(update)
        return [self.row(index) for index in range(first, first + self.stage_of_update(update).rows_per_update)]

    def first_row_of_update(self, update: int) -> int:
        """Number of an update's first row."""
        number = self._stage_number(update)
        return self._first_row[number] + (update - self._first_update[number]) * self.stages[number].rows_per_update

    def stage_of_update(self, update: int) -> Stage:
        """The stage that an update belongs to."""
        return self.stages[self._stage_number(update)]

    def source_tokens(self) -> list[int]:
        """Tokens that each source gives over the run."""
        return list(self._total_tokens)

    def epochs(self, source: int) -> float:
        """How often a source's training tokens are used over the run."""
        return self._total_tokens[source] / self._epoch_tokens[source]

    def pieces(self, source: int, start: int, length: int) -> list[WindowPiece]:
        """Tokens [start, start + length) of a source's endless stream, window by window."""
        found: list[WindowPiece] = []
        stop = start + length
        while start < stop:
            epoch, offset = divmod(start, self._epoch_tokens[source])
            ends = self._window_cache(source, epoch)[1]
            window = int(np.searchsorted(ends, offset, side="right"))
            begins = int(ends[window - 1]) if window else 0
            taken = min(stop - start, int(ends[window]) - offset)
            found.append(WindowPiece(epoch, window, offset - begins, offset - begins + taken))
            start += taken
        return found

    def window_blocks(self, source: int, epoch: int, window: int) -> list[int]:
        """Numbers of the source's blocks in one window, in their order of this epoch."""
        permutation = self._window_cache(source, epoch)[0]
        first = window * self.window_size
        return [int(block) for block in permutation[first : first + self.window_size]]

    def document_order(self, source: int, epoch: int, window: int, documents: int) -> np.ndarray:
        """Permutation of a window's documents, int64 [documents]."""
        return _permutation((self.seed, source, epoch, 1 + window), documents)

    def _stage_number(self, update: int) -> int:
        if not 0 <= update < self.num_updates:
            raise IndexError(f"update {update} of {self.num_updates}")
        return bisect_right(self._first_update, update) - 1

    def _epoch_layout(self, source: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The epoch's permutation of blocks, and where each of its windows ends (in tokens of the epoch)."""
        blocks = self._blocks[source]
        permutation = _permutation((self.seed, source, epoch, 0), len(blocks))
        ends = np.cumsum(blocks[permutation])
        last = np.minimum(np.arange(self.window_size, len(blocks) + self.window_size, self.window_size), len(blocks)) - 1
        return permutation, ends[last]


def integer_weights(weights: Sequence[float]) -> list[int]:
    """Weights in ten-thousandths that add up exactly (largest remainders rounded up, at least one each)."""
    total = sum(weights)
    exact = [weight / total * WEIGHT_UNIT for weight in weights]
    rounded = [max(1, int(share)) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda source: rounded[source] - exact[source])
    for source in by_remainder[: max(0, WEIGHT_UNIT - sum(rounded))]:
        rounded[source] += 1
    while sum(rounded) > WEIGHT_UNIT:
        rounded[rounded.index(max(rounded))] -= 1
    return rounded


def _permutation(key: tuple[int, ...], size: int) -> np.ndarray:
    """A permutation fixed for good by its key.

    Sorting raw 64-bit outputs of Philox, whose stream numpy keeps for compatibility, rather than
    ``Generator.permutation``, whose algorithm it may change.
    """
    keys = np.random.Philox(np.random.SeedSequence(key)).random_raw(size)
    return np.argsort(keys, kind="stable")


@dataclass(frozen=True)
class _StageTable:
    """One stage's schedule: a first lap that pays the deficits of the stage before, then a periodic one.

    Deficits are counted in units of 1 / WEIGHT_UNIT tokens: what a source should have had, less what it got.
    """

    length: int
    weights: tuple[int, ...]
    deficits: tuple[int, ...]
    tokens: tuple[int, ...]
    sources: np.ndarray
    """int32 [period]: the source of each row of the period."""
    counts: np.ndarray
    """int64 [period + 1, sources]: rows of each source before each row of the period."""

    @classmethod
    def build(
        cls, weights: Sequence[int], stage: Stage, deficits: tuple[int, ...], tokens: tuple[int, ...]
    ) -> _StageTable:
        rows = stage.rows_per_update * stage.updates
        sources = _assign(weights, stage.length, deficits, min(rows, WEIGHT_UNIT))
        one_hot = np.zeros((len(sources) + 1, len(weights)), np.int64)
        one_hot[np.arange(len(sources)) + 1, sources] = 1
        return cls(stage.length, tuple(weights), deficits, tokens, sources, np.cumsum(one_hot, axis=0))

    def row(self, local: int) -> tuple[int, int]:
        source = int(self.sources[local % len(self.sources)])
        return source, self.tokens_before(source, local)

    def tokens_before(self, source: int, rows: int) -> int:
        """Tokens the source has given before row ``rows`` of this stage."""
        if not len(self.sources):
            return self.tokens[source]
        laps, rest = divmod(rows, len(self.sources))
        count = laps * int(self.counts[-1, source]) + int(self.counts[rest, source])
        return self.tokens[source] + count * self.length

    def deficit(self, source: int, rows: int) -> int:
        """Deficit after ``rows`` rows of this stage."""
        given = (self.tokens_before(source, rows) - self.tokens[source]) * WEIGHT_UNIT
        return self.deficits[source] + rows * self.length * self.weights[source] - given


def _assign(weights: Sequence[int], length: int, deficits: Sequence[int], rows: int) -> np.ndarray:
    """Sources of the first ``rows`` rows: among those that may have a row now, the one that must have it soonest.

    With k sources the bound is 1 - 1 / (2k - 2) rows, so a source may be given a row once its deficit
    reaches 1 / (2k - 2), and must have it before its deficit passes the bound. After WEIGHT_UNIT rows every
    source has exactly its weight, the deficits are back at their start, and the schedule repeats.
    """
    k = len(weights)
    if k == 1:
        return np.zeros(rows, np.int32)
    # In units where one row is 2(k - 1) * WEIGHT_UNIT * length.
    scale = 2 * (k - 1)
    row = scale * WEIGHT_UNIT * length
    earliest = row // scale
    owed = [deficit * scale for deficit in deficits]
    step = [weight * length * scale for weight in weights]
    chosen = np.empty(rows, np.int32)
    for number in range(rows):
        owed = [debt + more for debt, more in zip(owed, step, strict=True)]
        ready = [source for source in range(k) if owed[source] >= earliest] or list(range(k))
        # Steps until the deficit would pass the bound; ties go to the larger deficit, then the lower number.
        best = min(ready, key=lambda source: (-(-(row - earliest - owed[source]) // step[source]), -owed[source], source))
        owed[best] -= row
        chosen[number] = best
    return chosen
