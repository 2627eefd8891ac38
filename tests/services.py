"""Counts the real services that a test session starts, so that the suite's cost stays visible.

`make test` fails when it starts more of a kind than `BUDGET` allows: a start costs seconds of CPU time on each run
of everybody, so a new test shares a running service, or its change raises the budget on purpose.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

Kind = Literal[
    "Ray head",
    "Ray node",
    "driver",
    "rank group",
    "torchrun",
    "service command",
    "S3 server",
    "browser",
    "moto server",
    "Prometheus",
]

_counts: Counter[Kind] = Counter()


def started(kind: Kind) -> None:
    """Count one start; called where a test helper starts a service."""
    _counts[kind] += 1


def counts() -> Counter[Kind]:
    """Starts of this session, by kind."""
    return _counts.copy()
