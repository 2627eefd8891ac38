"""Progress lines of generation, with the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from longspan.generate.requests import Row
from longspan.observe.units import count, duration

REPORT_SECONDS = 2.0

Log = Callable[[str], None]


class Progress:
    """Logs the progress of a stage; its speed counts from when the first requests were handed over.

    Args:
        name: of the stage, which lines begin with.
        requests: number of requests.
        log: takes the lines.
        work: of all requests together, in units of `weight`.
        weight: work of one record, which the time left is estimated by; each counts as one if None.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        requests: int,
        log: Log,
        work: float | None = None,
        weight: Callable[[Row], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._requests, self._log, self._clock = name, requests, log, clock
        self._work = float(requests) if work is None else work
        self._weight = weight or (lambda row: 1.0)
        self._done = self._tokens = self._rejected = 0
        self._work_done = 0.0
        self._begun: float | None = None
        self._last = float("-inf")

    def add(self, rows: Sequence[Row]) -> None:
        """Count records; log a line if the last one is `REPORT_SECONDS` ago."""
        self._done += len(rows)
        self._work_done += sum(map(self._weight, rows))
        self._tokens += sum(row["reply_tokens"] for row in rows)
        self._rejected += sum(bool(row["problem"]) for row in rows)
        now = self._clock()
        if self._begun is None:
            self._begun = now - max(row["seconds"] for row in rows)
        if now - self._last < REPORT_SECONDS and self._done < self._requests:
            return
        self._last = now
        self._log(
            f"{self._name}: {self._done:,}/{self._requests:,} {self._work_done / self._work:.0%} | "
            f"{self._speed(now - self._begun)} | {self._rejected:,} rejected"
        )

    def _speed(self, seconds: float) -> str:
        seconds = max(seconds, 1e-3)
        left = duration(seconds / self._work_done * (self._work - self._work_done))
        end = "done" if self._done >= self._requests else f"{left} left"
        return f"{count(self._tokens / seconds)} tok/s | {end}"
