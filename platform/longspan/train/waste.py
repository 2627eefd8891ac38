"""What was done and is not kept, since the workers had to start again."""

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


def waste(records: Sequence[dict[str, Any]], update: int) -> Waste:
    """What the latest start on record did after ``update``, where the next one goes on.

    A worker that is killed takes its last records with it (see `MetricsLog`): it may be more.

    Args:
        records: of the run, as `read_metrics` gives them.
        update: updates that are kept.
    """
    starts = [record for record in records if record.get("event") in STARTS]
    if not starts:
        return Waste(0, 0.0)
    latest = max(starts, key=lambda record: record["time"])
    lost = [
        record["step_seconds"]
        for record in records
        if record["kind"] == "update"
        and record["update"] > update
        and record["time"] >= latest["time"]
    ]
    return Waste(len(lost), sum(lost) * latest.get("workers", 1))
