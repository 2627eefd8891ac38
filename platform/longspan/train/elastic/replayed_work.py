"""Work that a restart repeats: updates and worker-seconds since the last committed checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

STARTS = ("started", "resumed")


@dataclass(frozen=True)
class Waste:
    """Work that is done again.

    Attributes:
        updates: how many.
        worker_seconds: their duration times the number of workers.
    """

    updates: int
    worker_seconds: float


def latest_start(records: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The record of when the workers last began; None in a new run."""
    starts = [record for record in records if record.get("event") in STARTS]
    return max(starts, key=lambda record: record["time"], default=None)


def waste(records: Sequence[dict[str, Any]], update: int) -> Waste:
    """What the latest start on record did after ``update``, where the next one goes on.

    A worker that is killed takes its last records with it (see `MetricsLog`): it may be more.

    Args:
        records: of the run, as `read_metrics` gives them.
        update: updates that are kept.
    """
    latest = latest_start(records)
    if latest is None:
        return Waste(0, 0.0)
    lost = [
        record["step_seconds"]
        for record in records
        if record["kind"] == "update"
        and record["update"] > update
        and record["time"] >= latest["time"]
    ]
    return Waste(len(lost), sum(lost) * latest["workers"])


def waste_so_far(records: Sequence[dict[str, Any]]) -> Waste:
    """What all starts on record found to be done again."""
    starts = [record for record in records if record.get("event") in STARTS]
    return Waste(
        sum(record.get("wasted_updates", 0) for record in starts),
        sum(record.get("wasted_worker_seconds", 0.0) for record in starts),
    )


def starts_line(records: Sequence[dict[str, Any]]) -> str | None:
    """How often a run was started and what that cost, in words; None for one that went straight through."""
    starts = [record for record in records if record.get("event") in STARTS]
    if len(starts) < 2:
        return None
    workers = ", ".join(str(r["workers"]) for r in sorted(starts, key=lambda r: r["time"]))
    lost = waste_so_far(records)
    return (
        f"{len(starts)} starts, with {workers} workers; "
        f"{lost.updates} updates done again ({lost.worker_seconds:.1f} worker-seconds)"
    )
