"""Trackers in threads of their own: their failures and delays reach neither the training loop nor other trackers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from longspan.observe.secrets import without_secrets
from longspan.observe.tracker import Record, Tracker


@dataclass(frozen=True)
class Limits:
    """Bounds of a tracker's thread."""

    max_waiting: int = 1000
    """Records that wait for the tracker; further ones are dropped."""
    retry_s: float = 60.0
    """Seconds between attempts to start a tracker that could not be started."""


class IsolatedTracker:
    """A tracker whose failures and delays stay in its own thread; a :class:`~longspan.observe.tracker.Tracker`.

    A record is dropped, and counted, if the queue is full or the tracker raises. A tracker that cannot be started is
    tried again while the run goes on. Messages are shown by the thread that hands over records.

    Args:
        name: for messages.
        start: makes the tracker; called in its thread, because it may take long.
        log: shows a line to whoever watches.
        limits: of the queue and of attempts.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], Tracker],
        log: Callable[[str], None],
        limits: Limits = Limits(),
    ) -> None:
        self.name = name
        self._start, self._log, self._limits = start, log, limits
        self._changed = threading.Condition()
        self._waiting: deque[Record] = deque()
        self._messages: deque[str] = deque()
        self._said: set[str] = set()
        self._taken = self._delivered = 0
        self._is_closing = self._is_abandoned = False
        self._thread = threading.Thread(target=self._run, name=f"tracker-{name}", daemon=True)
        self._thread.start()

    @property
    def undelivered(self) -> int:
        """Records taken that the tracker does not have (yet)."""
        with self._changed:
            return self._taken - self._delivered

    def log(self, record: Record) -> None:
        """Hand over a record; returns at once."""
        with self._changed:
            self._taken += 1
            if len(self._waiting) < self._limits.max_waiting:
                self._waiting.append(record)
                self._changed.notify()
            else:
                self._note(
                    f"it does not keep up: {len(self._waiting):,} records wait for it; further ones are dropped"
                )
        self._show()

    def begin_close(self) -> None:
        """Let the thread end once it has delivered what waits; no record follows."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    def close(self, timeout_s: float = 30.0) -> None:
        """Wait, no longer than the timeout, until all records are delivered and the tracker is closed."""
        self.begin_close()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            with self._changed:
                self._is_abandoned = True
                self._waiting.clear()
            self._note(f"it did not finish within {timeout_s:.0f} s, and is left behind")
        self._show()

    def _run(self) -> None:
        tracker = self._started()
        if tracker is None:
            return
        while (record := self._next()) is not None:
            if self._tried(lambda record=record: tracker.log(record), "a record was dropped"):
                with self._changed:
                    self._delivered += 1
        if not self._is_abandoned:
            self._tried(tracker.close, "closing it failed")

    def _started(self) -> Tracker | None:
        """The tracker; None if it could not be started before the end."""
        made: list[Tracker] = []
        while not self._tried(lambda: made.append(self._start()), "it could not be started"):
            with self._changed:
                if self._changed.wait_for(lambda: self._is_closing, self._limits.retry_s):
                    return None
        return made[0]

    def _next(self) -> Record | None:
        """The next record; None after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            return self._waiting.popleft() if self._waiting else None

    def _tried(self, action: Callable[[], object], consequence: str) -> bool:
        """Whether an action succeeded; why not is shown once."""
        try:
            action()
        except BaseException as error:  # A library may raise SystemExit.
            self._note(f"{consequence} ({type(error).__name__}: {_first_line(error)})")
            return False
        return True

    def _note(self, message: str) -> None:
        """Have a message shown, the first time only."""
        line = without_secrets(f"tracker {self.name}: {message}; training goes on")
        kind = message.partition(" (")[0]
        if kind not in self._said:
            self._said.add(kind)
            self._messages.append(line)

    def _show(self) -> None:
        while self._messages:
            self._log(self._messages.popleft())


def close_all(trackers: Sequence[IsolatedTracker], timeout_s: float) -> None:
    """Close trackers at the same time; returns after the timeout at the latest."""
    end = time.monotonic() + timeout_s
    for tracker in trackers:
        tracker.begin_close()
    for tracker in trackers:
        tracker.close(max(0.0, end - time.monotonic()))


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no message"
