"""Progress lines of scoring."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from longspan.generate.progress import Log
from longspan.observe.units import count, duration

REPORT_S = 2.0


class Progress:
    """Lines on how far scoring is; speed and time left are in tokens."""

    def __init__(
        self, name: str, tokens: int, log: Log, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing is done of ``tokens`` yet."""
        self._name, self._total, self._log, self._clock = name, max(1, tokens), log, clock
        self._done = self._refused = 0
        self._start = self._last = clock()

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Count scores, and log a line some seconds after the last one."""
        self._done += sum(row["tokens"] for row in rows)
        self._refused += sum(bool(row["problem"]) for row in rows)
        now = self._clock()
        if now - self._last < REPORT_S and self._done < self._total:
            return
        self._last = now
        speed = self._done / max(now - self._start, 1e-3)
        left = duration((self._total - self._done) / speed) if speed else "unknown"
        self._log(
            f"{self._name}: {count(self._done)}/{count(self._total)} tokens {self._done / self._total:.0%} | "
            f"{count(speed)} tok/s | {left} left | {self._refused:,} refused"
        )
