"""Metrics records as JSON lines in the store, in parts: objects that are written whole.

Object storage can't append, so the newest part is rewritten, atomically, until it holds
``lines_per_part`` lines and the next one begins. A process that is killed loses what it had not
flushed, and nothing else; the next one begins a part of its own.

The job that trains writes ``part-000000.jsonl`` and so on; an evaluation that watches it writes
``evaluation-<name>-000000.jsonl``. Readers merge them.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from typing import Any

from longspan.errors import UserError
from longspan.observe.evaluations import EVALUATION
from longspan.observe.records import from_json, to_json
from longspan.observe.tracker import Record
from longspan.storage.store import Store

TRAINING = "part"
_PART = re.compile(rf"({TRAINING}|evaluation-[A-Za-z0-9._-]+)-(\d+)\.jsonl")


def evaluation_stem(name: str) -> str:
    """Stem of the files of the evaluation ``name`` in a run's metrics."""
    return f"evaluation-{name}"


class MetricsLog:
    """Writes a run's records below ``path``; a :class:`~longspan.observe.tracker.Tracker`.

    "update" records are flushed every ``seconds`` or at a part's end, all others at once (there are
    few, and a checkpoint's event makes sure that what led to the checkpoint is stored). A store that
    fails to take a part delays it: it is offered again at the next flush, and only :meth:`flush` and
    :meth:`close` raise.

    Args:
        store: where to.
        path: folder in the store; one writer of a stem at a time.
        stem: first part of the files' names.
        lines_per_part: records in a full part.
        seconds: the most that a kill can lose, while records keep coming.
        clock: seconds, from any moment on.
        warn: told once, when the store begins to fail.

    Raises:
        UserError: the store can't be listed.
    """

    def __init__(
        self,
        store: Store,
        path: str,
        *,
        stem: str = TRAINING,
        lines_per_part: int = 1000,
        seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        assert lines_per_part > 0, f"{lines_per_part=}"
        self._store, self._path, self._stem = store, path.rstrip("/"), stem
        self._lines_per_part, self._seconds = lines_per_part, seconds
        self._clock = clock
        self._warn = warn or (lambda line: print(line, file=sys.stderr, flush=True))
        numbers = [number for _, number, _ in _parts(store, self._path, stem)]
        self._number = max(numbers, default=-1) + 1
        self._lines: list[str] = []
        self._flushed = 0
        self._due = clock() + seconds
        self._failing = False

    def add(self, record: Record) -> None:
        """Take one record; it is stored at the next flush, which may be now.

        Raises:
            TypeError: a value is no number, word, list or dict.
        """
        self._lines.append(to_json(record))
        urgent = len(self._lines) >= self._lines_per_part or record.get("kind") != "update"
        # A store that fails is tried again when the time has come, not for every record.
        if (urgent and not self._failing) or self._clock() >= self._due:
            self._try_to_flush()

    def log(self, record: Record) -> None:
        """The same as :meth:`add`, by the tracker's name for it."""
        self.add(record)

    def persist(self) -> None:
        """Store every record taken so far, if the store takes it now."""
        if len(self._lines) > self._flushed:
            self._try_to_flush()

    def flush(self) -> None:
        """Store every record taken so far.

        Raises:
            UserError: the store does not take it; the records are kept for the next flush.
        """
        self._due = self._clock() + self._seconds
        while len(self._lines) > self._flushed:
            part = self._lines[: self._lines_per_part]
            name = f"{self._path}/{self._stem}-{self._number:06d}.jsonl"
            self._store.write_bytes(name, "".join(line + "\n" for line in part).encode())
            if len(part) < self._lines_per_part:
                self._flushed = len(part)
            else:
                self._lines = self._lines[len(part) :]
                self._number += 1
                self._flushed = 0
        self._failing = False

    def close(self) -> None:
        """Store the rest; UserError where the store does not take it."""
        self.flush()

    def _try_to_flush(self) -> None:
        try:
            self.flush()
        except (OSError, UserError) as error:
            if not self._failing:
                self._warn(f"metrics are kept in memory until the store takes them: {error}")
            self._failing = True


def read_metrics(store: Store, path: str, stem: str | None = None) -> list[dict[str, Any]]:
    """The records below ``path``, in the order of their updates; none where there are no parts.

    A resumed run repeats the updates since its checkpoint: of records that describe the same thing
    (update; update and phase for held-out losses; update and name for evaluations) the latest is
    kept. Events are all kept.

    Args:
        store: of the run.
        path: folder of its metrics.
        stem: reads files of this stem only.

    Raises:
        UserError: a part holds something else than records; the message names part and line.
    """
    latest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _, _, part in sorted(_parts(store, path.rstrip("/"), stem)):
        for number, line in enumerate(store.read_bytes(part).decode().splitlines(), start=1):
            try:
                record = from_json(line)
            except ValueError as error:
                where = f"{store.uri(part)}, line {number}"
                raise UserError(f"{where}: not a metrics record: {error}") from error
            key = _identity(record)
            latest.pop(key, None)  # the later one also takes the later place
            latest[key] = record
    return sorted(latest.values(), key=lambda record: record.get("update", 0))


def _identity(record: dict[str, Any]) -> tuple[Any, ...]:
    kind, update = record.get("kind"), record.get("update")
    if kind == "event":
        return kind, update, record.get("event"), record.get("time")
    if kind == EVALUATION:
        return kind, update, record.get("evaluation")
    return kind, update, record.get("phase")


def _parts(store: Store, path: str, stem: str | None = None) -> list[tuple[str, int, str]]:
    """Stem, number and path of each file of records."""
    parts = []
    for item in store.list(path):
        name = _PART.fullmatch(item.path.rsplit("/", 1)[-1])
        if name and stem in (None, name[1]):
            parts.append((name[1], int(name[2]), item.path))
    return parts
