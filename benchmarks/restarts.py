"""What a run's counted updates come to: what was done twice, how long it stood still, and where the time went."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from longspan.train.elastic.replayed_work import STARTS

Records = Sequence[dict[str, Any]]

DOWN = "Worker group shutdown successful"
ASKED = "Attempting to start training worker group"
UP = "Started training worker group"
PHASES = ("noticed", "taken down", "waits for room", "processes", "model, state", "first update")
"""Of a standstill, each from the end of the one before."""


@dataclass(frozen=True)
class Restart:
    """One start after the first.

    Attributes:
        fault: when what led to it was; None where it was for more workers.
        begins: the standstill's first moment: the last update before it, or a later fault.
        starts: when the state was there again.
        ends: when the first update was done.
        wasted: updates done before that are done again.
        worker_seconds: what they took, times the number of workers.
    """

    fault: float | None
    begins: float
    starts: float
    ends: float
    wasted: int
    worker_seconds: float

    @property
    def standstill(self) -> float:
        """Seconds without an update."""
        return self.ends - self.begins


def updates_in(records: Records) -> list[dict[str, Any]]:
    """All that were done, twice where they were."""
    return [record for record in records if record["kind"] == "update"]


def restarts(records: Records, faults: Sequence[float]) -> list[Restart]:
    """Of one run, in the order of time."""
    found: list[Restart] = []
    kept: dict[int, float] = {}
    workers, latest, left = 1, 0.0, list(faults)
    start: dict[str, Any] | None = None
    for record in records:
        if record.get("event") in STARTS:
            workers = record["workers"]
            start = record if latest else None
        elif record["kind"] == "update":
            if start:
                lost = [kept.pop(update) for update in list(kept) if update > start["update"]]
                fault = _before(left, start["time"])
                begins = max(latest, fault or 0.0)
                times = (begins, start["time"], record["time"])
                found.append(Restart(fault, *times, len(lost), sum(lost)))
                start = None
            kept[record["update"]] = record["step_seconds"] * workers
            latest = record["time"]
    return found


def checkpoint_after(records: Records, fault: float) -> float | None:
    """Seconds from a fault to the next checkpoint that was whole."""
    times = [record["time"] for record in records if record.get("event") == "checkpoint"]
    return next((time - fault for time in times if time > fault), None)


def controllers_log(session: Path) -> list[tuple[float, str]]:
    """When Ray Train's controller said what."""
    found = []
    for file in sorted((session / "logs" / "train").glob("ray-train-sys-controller*.log")):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            when = datetime.strptime(record["asctime"], "%Y-%m-%d %H:%M:%S,%f")
            found.append((when.timestamp(), record["message"]))
    return sorted(found)


def phases(restart: Restart, log: Sequence[tuple[float, str]]) -> list[float] | None:
    """Seconds of each phase of a standstill; None where the controller's log does not tell."""
    during = [(time, said) for time, said in log if restart.begins <= time <= restart.ends]

    def times(about: Callable[[str], bool], after: float = 0.0) -> list[float]:
        return [time for time, said in during if about(said) and time >= after]

    seen = times(lambda said: said.endswith("-> RESTARTING."))
    down = times(lambda said: said.startswith(DOWN), seen[0]) if seen else []
    asked = times(lambda said: said.startswith(ASKED), down[0]) if down else []
    up = times(lambda said: UP in said and not said.startswith(ASKED), asked[0]) if asked else []
    if not up:
        return None
    ask = max(time for time in asked if time <= up[-1])
    moments = [restart.begins, seen[0], down[0], ask, up[-1], restart.starts, restart.ends]
    return [later - earlier for earlier, later in itertools.pairwise(moments)]


def _before(faults: list[float], moment: float) -> float | None:
    """The last fault before a moment; it and those before are no longer in the list."""
    found = [fault for fault in faults if fault < moment]
    del faults[: len(found)]
    return found[-1] if found else None
