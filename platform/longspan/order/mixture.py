"""Which source each row comes from: a fixed schedule that follows the weights closely.

With n_i rows of source i among the first t, and its weight w_i, the deficit t * w_i - n_i stays
strictly between -1 and 1 for every source at every t. That this is always possible is the chairman
assignment problem (R. Tijdeman, Discrete Mathematics 32, 1980). The rows of a source are unit jobs:
one may be placed as soon as that leaves its deficit above -1, and must be placed before the deficit
reaches 1; placing the job with the earliest deadline meets all of them whenever any order can
(G. Steiner and S. Yeomans, Management Science 39, 1993). All of it is integer arithmetic.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence

import numpy as np

WEIGHT_UNIT = 10_000


def integer_weights(weights: Sequence[float]) -> tuple[int, ...]:
    """Weights as coprime integers, after rounding the shares to ten-thousandths.

    The shares add up to one exactly: the largest remainders are rounded up. None becomes zero.

    Args:
        weights: positive numbers of any sum, one per source; at most 10,000 of them.
    """
    assert 0 < len(weights) <= WEIGHT_UNIT, f"{len(weights)} sources"
    assert all(weight > 0 for weight in weights), f"weights {list(weights)} are not all positive"
    total = sum(weights)
    exact = [weight / total * WEIGHT_UNIT for weight in weights]
    rounded = [max(1, int(share)) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda source: rounded[source] - exact[source])
    for source in by_remainder[: max(0, WEIGHT_UNIT - sum(rounded))]:
        rounded[source] += 1
    while sum(rounded) > WEIGHT_UNIT:
        rounded[rounded.index(max(rounded))] -= 1
    common = math.gcd(*rounded)
    return tuple(weight // common for weight in rounded)


class Mixture:
    """The sources of rows of one length.

    Deficits are counted in tokens times the sum of the integer weights, so they are integers, and
    what one length leaves over is carried to the next exactly. The schedule settles into a cycle
    after at most a few laps of that many rows; only these are kept, and any row is found in them.

    Attributes:
        length: tokens per row.
    """

    def __init__(
        self, weights: Sequence[int], length: int, rows: int, deficits: Sequence[int] | None = None
    ) -> None:
        """Lay the schedule out.

        Args:
            weights: integer weights, one per source.
            length: tokens per row.
            rows: how many rows will be asked for; no more than these are laid out.
            deficits: what the rows before these owe to each source (their sum is zero). A source
                owed more than one row of this length, as longer rows can leave it, is paid first.
        """
        self.length = length
        self._weights = tuple(weights)
        self._start = tuple(deficits or [0] * len(weights))
        assert sum(self._start) == 0, f"deficits {self._start} do not cancel out"
        self._sources, self._settled = self._lay_out(rows)
        self._counts = np.zeros((len(self._sources) + 1, len(weights)), np.int64)
        self._counts[np.arange(len(self._sources)) + 1, self._sources] = 1
        np.cumsum(self._counts, axis=0, out=self._counts)

    def source(self, row: int) -> int:
        """The source of a row, numbered from this schedule's own start."""
        return int(self._sources[self._folded(row)[1]])

    def place(self, row: int) -> tuple[int, int]:
        """The source of a row, and how many rows of that source are before it."""
        cycles, place = self._folded(row)
        source = int(self._sources[place])
        before = self._counts[place, source]
        if cycles:
            before += cycles * (self._counts[-1, source] - self._counts[self._settled, source])
        return source, int(before)

    def places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`place` of many rows: int32 [rows] and int64 [rows]."""
        laid_out = len(self._sources)
        period = max(1, laid_out - self._settled)
        cycles = np.where(rows < laid_out, 0, (rows - self._settled) // period)
        places = rows - cycles * period
        sources = self._sources[places]
        per_cycle = self._counts[-1] - self._counts[self._settled]
        return sources, self._counts[places, sources] + cycles * per_cycle[sources]

    def rows_before(self, row: int) -> np.ndarray:
        """Rows of every source before `row`, int64 [sources]."""
        if row <= len(self._sources):
            return self._counts[row]
        cycles, place = self._folded(row)
        return self._counts[place] + cycles * (self._counts[-1] - self._counts[self._settled])

    def deficits(self, row: int) -> tuple[int, ...]:
        """What the rows before `row` owe to each source."""
        unit = sum(self._weights)
        return tuple(
            start + (row * weight - int(given) * unit) * self.length
            for start, weight, given in zip(
                self._start, self._weights, self.rows_before(row), strict=True
            )
        )

    def _folded(self, row: int) -> tuple[int, int]:
        """(whole cycles left out, place in the rows laid out)."""
        laid_out = len(self._sources)
        if row < laid_out:
            return 0, row
        cycles, rest = divmod(row - self._settled, laid_out - self._settled)
        return cycles, self._settled + rest

    def _lay_out(self, rows: int) -> tuple[np.ndarray, int]:
        """Sources of the rows until they repeat, and the row from which on they do."""
        lap = sum(self._weights)
        seen: dict[tuple[int, ...], int] = {}
        sources: list[int] = []
        given = [0] * len(self._weights)
        schedule = self._earliest_deadline_first()
        while len(sources) < rows:
            # After a whole number of laps, what is owed differs from the start by whole rows; the
            # rest of the schedule depends on nothing else.
            laps = len(sources) // lap
            state = tuple(
                laps * weight - count for weight, count in zip(self._weights, given, strict=True)
            )
            if state in seen:
                return np.array(sources, np.int32), seen[state]
            seen[state] = len(sources)
            for _ in range(min(lap, rows - len(sources))):
                source = next(schedule)
                given[source] += 1
                sources.append(source)
        return np.array(sources, np.int32), 0

    def _earliest_deadline_first(self) -> Iterator[int]:
        row = sum(self._weights) * self.length
        steps = [weight * self.length for weight in self._weights]
        given = [0] * len(steps)

        def ready(source: int) -> int:
            """The first row at which the source's next one leaves its deficit above -1."""
            return (given[source] * row - self._start[source]) // steps[source]

        def deadline(source: int) -> int:
            """The last row that keeps its deficit below 1."""
            return -((self._start[source] - (given[source] + 1) * row) // steps[source]) - 1

        waiting = [(ready(source), source) for source in range(len(steps))]
        heapq.heapify(waiting)
        urgent: list[tuple[int, int]] = []
        number = 0
        while True:
            while waiting and waiting[0][0] <= number:
                source = heapq.heappop(waiting)[1]
                heapq.heappush(urgent, (deadline(source), source))
            # Never empty: deficits sum to zero before a row, so with it one of them is positive.
            source = heapq.heappop(urgent)[1]
            given[source] += 1
            heapq.heappush(waiting, (ready(source), source))
            yield source
            number += 1
