"""The global order of rows: pure arithmetic over (data, weights, stages, seed).

Nothing here depends on the number of workers, on restarts or on time. Three questions are answered
for any row in O(log) time, without replaying the rows before it:

- which source it comes from: see :mod:`.mixture`;
- where in that source it starts: a cursor counted in tokens, so a change of row length keeps it;
- which blocks hold those tokens: per source and epoch a seeded permutation of the blocks, cut into
  windows of a few blocks; within a window the documents are permuted as well (:mod:`.rows`). With
  best-fit packing windows are cut once, and an epoch permutes them and their rows (:mod:`.packs`).
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

from longspan.order.mixture import Mixture, integer_weights
from longspan.order.packs import PackTable, Windows, window_tokens
from longspan.order.permutation import permutation


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
    """Tokens of the source's rows before it: of an endless stream, epochs one after another."""
    stage: int
    number: int
    """The row's number among its source's rows of its stage."""


@dataclass(frozen=True)
class RowPlans:
    """Where the tokens of some rows of one stage come from; see `RowPlan`."""

    length: int
    indices: np.ndarray
    """int64 [rows], as the arrays below."""
    updates: np.ndarray
    sources: np.ndarray
    """int32 [rows]."""
    starts: np.ndarray


@dataclass(frozen=True)
class WindowPiece:
    """Tokens [start, stop) of one window of one epoch of a source."""

    epoch: int
    window: int
    start: int
    stop: int


class Order:
    """The order of all rows of a run, packed by concatenation unless `packed`."""

    def __init__(
        self,
        block_tokens: Sequence[Sequence[int]],
        weights: Sequence[float],
        stages: Sequence[Stage],
        seed: int,
        window_blocks: int = 8,
        packs: Sequence[PackTable] = (),
        alone: Sequence[bool] = (),
    ) -> None:
        """Set up in time and memory proportional to the number of blocks.

        Args:
            block_tokens: tokens of each training block, per source.
            weights: share of the tokens, per source; rounded to ten-thousandths.
            stages: the length schedule.
            seed: seed of the permutations, not negative.
            window_blocks: blocks whose documents are permuted together, with concatenation.
            packs: where each source's rows are, with best-fit packing (see :mod:`.packed_order`).
            alone: whether each document of a source has a row of its own, with best-fit packing;
                of none where it is empty.
        """
        assert len(block_tokens) == len(weights), (
            f"{len(block_tokens)} sources, {len(weights)} weights"
        )
        self.stages = tuple(stages)
        self.seed = seed
        self.window_size = window_blocks
        self.packs = tuple(packs)
        self.alone = tuple(alone) or (False,) * len(weights)
        self.weights = integer_weights(weights)
        self._blocks = [np.asarray(blocks, np.int64) for blocks in block_tokens]
        self._epoch_tokens = [int(blocks.sum()) for blocks in self._blocks]
        assert min(self._epoch_tokens) > 0, f"a source has no tokens: {self._epoch_tokens}"
        self._first_row = [0]
        self._first_update = [0]
        self._mixtures: list[Mixture] = []
        # Tokens that each source has given before a stage.
        self._cursors = [np.zeros(len(weights), np.int64)]
        for stage in self.stages:
            self._append(stage)
        self._layout = lru_cache(maxsize=4 * len(weights))(self._lay_out_epoch)

    def __reduce__(self) -> tuple:
        """Pickle as the arguments: schedules and caches are rebuilt."""
        blocks = [blocks.tolist() for blocks in self._blocks]
        settings = (self.weights, self.stages, self.seed, self.window_size, self.packs, self.alone)
        return Order, (blocks, *settings)

    def packed(self, packs: Sequence[PackTable]) -> Order:
        """This order with best-fit packing: where each source's rows are then."""
        blocks = [sizes.tolist() for sizes in self._blocks]
        settings = (self.weights, self.stages, self.seed, self.window_size)
        return Order(blocks, *settings, packs, self.alone)

    def windows(self, tokens: int | None = None) -> list[Windows]:
        """Windows of best-fit packing, per source; of a size derived from the longest row if None."""
        tokens = tokens or window_tokens(max(stage.length for stage in self.stages))
        return [
            Windows(sizes.tolist(), tokens, self.seed, source, alone)
            for source, (sizes, alone) in enumerate(zip(self._blocks, self.alone, strict=True))
        ]

    def rows_of_stages(self, source: int) -> list[tuple[int, int]]:
        """Length and number of a source's rows in every stage."""
        return [
            (stage.length, int(mixture.rows_before(stage.rows_per_update * stage.updates)[source]))
            for stage, mixture in zip(self.stages, self._mixtures, strict=True)
        ]

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
        facts: dict[str, object] = {
            "blocks": [hashlib.sha256(b.astype("<i8").tobytes()).hexdigest() for b in self._blocks],
            "weights": self.weights,
            "stages": [asdict(stage) for stage in self.stages],
            "seed": self.seed,
            "window": self.window_size,
        }
        if self.packs:
            facts["packing"] = ["best_fit", [table.windows.size for table in self.packs]]
        if any(self.alone):
            facts["alone"] = self.alone
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def row(self, index: int) -> RowPlan:
        """The plan of row `index`.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= index < self.num_rows:
            raise IndexError(f"row {index} of {self.num_rows}")
        number = bisect_right(self._first_row, index) - 1
        stage, mixture = self.stages[number], self._mixtures[number]
        local = index - self._first_row[number]
        source, before = mixture.place(local)
        start = int(self._cursors[number][source]) + before * stage.length
        update = self._first_update[number] + local // stage.rows_per_update
        return RowPlan(index, update, stage.length, source, start, number, before)

    def rows(self, indices: np.ndarray) -> list[RowPlans]:
        """Plans of many rows, stage by stage.

        Args:
            indices: int64 [rows], rising.
        """
        found = []
        places = np.searchsorted(indices, self._first_row)
        assert places[0] == 0 and places[-1] == len(indices), f"rows beyond {self.num_rows}"
        for number, part in enumerate(np.split(indices, places[1:-1])):
            stage, local = self.stages[number], part - self._first_row[number]
            if not len(part):
                continue
            sources, before = self._mixtures[number].places(local)
            starts = self._cursors[number][sources] + before * stage.length
            updates = self._first_update[number] + local // stage.rows_per_update
            found.append(RowPlans(stage.length, part, updates, sources, starts))
        return found

    def rows_of_update(self, update: int) -> list[RowPlan]:
        """The global batch of one update, in order."""
        first = self.first_row_of_update(update)
        rows = self.stage_of_update(update).rows_per_update
        return [self.row(index) for index in range(first, first + rows)]

    def first_row_of_update(self, update: int) -> int:
        """Number of an update's first row."""
        number = self._stage_number(update)
        local = update - self._first_update[number]
        return self._first_row[number] + local * self.stages[number].rows_per_update

    def stage_of_update(self, update: int) -> Stage:
        """The stage that an update belongs to."""
        return self.stages[self._stage_number(update)]

    def source_tokens(self) -> list[int]:
        """Tokens that each source gives over the run."""
        return self._cursors[-1].tolist()

    def epochs(self, source: int) -> float:
        """How often a source's training tokens are used over the run, padding counted as tokens."""
        return float(self._cursors[-1][source] / self._epoch_tokens[source])

    def pieces(self, source: int, start: int, length: int) -> list[WindowPiece]:
        """Tokens [start, start + length) of a source's endless stream, window by window."""
        found: list[WindowPiece] = []
        stop = start + length
        while start < stop:
            epoch, offset = divmod(start, self._epoch_tokens[source])
            ends = self._layout(source, epoch)[1]
            window = int(ends.searchsorted(offset, side="right"))
            begins = int(ends[window - 1]) if window else 0
            taken = min(stop - start, int(ends[window]) - offset)
            found.append(WindowPiece(epoch, window, offset - begins, offset - begins + taken))
            start += taken
        return found

    def window_blocks(self, source: int, epoch: int, window: int) -> list[int]:
        """Numbers of the source's blocks in one window, in their order of this epoch."""
        first = window * self.window_size
        return self._layout(source, epoch)[0][first : first + self.window_size].tolist()

    def document_order(self, source: int, epoch: int, window: int, documents: int) -> np.ndarray:
        """Permutation of a window's documents, int64 [documents]."""
        return permutation((self.seed, source, epoch, 1 + window), documents)

    def _append(self, stage: Stage) -> None:
        owed = None
        if self._mixtures:
            owed = self._mixtures[-1].deficits(self._first_row[-1] - self._first_row[-2])
        rows = stage.rows_per_update * stage.updates
        mixture = Mixture(self.weights, stage.length, rows, owed)
        self._mixtures.append(mixture)
        self._cursors.append(self._cursors[-1] + mixture.rows_before(rows) * stage.length)
        self._first_row.append(self._first_row[-1] + rows)
        self._first_update.append(self._first_update[-1] + stage.updates)

    def _stage_number(self, update: int) -> int:
        if not 0 <= update < self.num_updates:
            raise IndexError(f"update {update} of {self.num_updates}")
        return bisect_right(self._first_update, update) - 1

    def _lay_out_epoch(self, source: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """An epoch's permutation of blocks, and where each of its windows ends, in its tokens."""
        blocks = self._blocks[source]
        order = permutation((self.seed, source, epoch, 0), len(blocks))
        windows = -(-len(blocks) // self.window_size)
        last_blocks = np.minimum((np.arange(windows) + 1) * self.window_size, len(blocks)) - 1
        return order, np.cumsum(blocks[order])[last_blocks]
