"""Starts of real services by a test session, so that the suite's cost stays visible.

A start costs seconds of CPU time in every run of the suite. `make test` therefore fails if it starts more services
of a kind than `BUDGET` allows: a new test shares a running service, or its change raises the budget on purpose.

Processes are recognized by the command line that pytest's own process gives to `subprocess`. What those processes
start in turn (Ray's workers, a replica's engine) is not counted: the number of services follows from the number of
commands.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

Kind = Literal[
    "Ray head",
    "Ray node",
    "driver",
    "rank group",
    "torchrun",
    "service command",
    "vLLM engine",
    "S3 server",
    "browser",
    "Prometheus",
]

JOBS = "(pretrain|sft|ingest|self-instruct|evaluate|pipeline)"

COMMANDS: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.DOTALL))
    for kind, pattern in (
        # "ray start" and "python -m ray.scripts.scripts start".
        ("Ray head", r"\bray(\.scripts\.scripts)? start\b.* --head\b"),
        ("Ray node", r"\bray(\.scripts\.scripts)? start\b.* --address="),
        ("torchrun", r"-m torch\.distributed\.run\b|\btorchrun\b"),
        # Training without Ray by a single process; several are forked by tests/ranks.py or started by torchrun.
        ("rank group", r"-m longspan\.train\.standalone\b"),
        # Neither option starts Ray.
        ("driver", rf"(\bjobs/\w+\.py|\blongspan {JOBS})\b(?!.* --(validate|plan)\b)"),
        ("driver", r"-m tests\.(runtime\.device|serve\.pool)\b"),
        ("service command", r"\blongspan[. ]serve (deploy|rollback)\b"),
        ("vLLM engine", r"-m vllm\.entrypoints\b|\bvllm serve\b|^from vllm import |\nfrom vllm import "),
        ("S3 server", r"\bweed mini\b"),
        ("browser", r"\bplaywright\b.* run-driver\b"),
        ("Prometheus", r"\bprometheus --config"),
    )
)  # fmt: skip
"""A process is of the kind of the first pattern that its command line matches."""

BUDGET: Mapping[Kind, int] = MappingProxyType(
    {
        "Ray head": 2,
        "Ray node": 3,
        "driver": 10,
        "rank group": 35,  # whole runs, of shared rows and of exported checkpoints, are a group each; one for contracts
        "torchrun": 1,
        "service command": 4,
        "vLLM engine": 1,
        "S3 server": 2,  # one in each process of pytest-xdist
        "browser": 3,
        "Prometheus": 0,
    }
)
"""Starts that `make test` may make, by kind."""

EVENT = "longspan.tests.started"
"""Audit event of a service that is not started by a command line."""


def kind_of(command: str) -> Kind | None:
    """Kind of the service that a command line starts, or None if it starts none."""
    return next((kind for kind, pattern in COMMANDS if pattern.search(command)), None)


def started(kind: Kind) -> None:
    """Report one start; called by test helpers that start a service without a command line."""
    sys.audit(EVENT, kind)


class ServiceCounter:
    """Counts the services that this process starts from `watch` on."""

    def __init__(self) -> None:
        self.counts: Counter[Kind] = Counter()

    def watch(self) -> None:
        """Begin to count, until the process ends: Python has no way to remove an audit hook."""
        sys.addaudithook(self._on_event)

    def over(self, budget: Mapping[Kind, int]) -> list[str]:
        """Violations of a budget, as messages; a kind that it does not name may not be started."""
        return [
            f"{kind}: {count} started, the budget is {budget.get(kind, 0)}; "
            "share a service that runs, or raise BUDGET in tests/services.py"
            for kind, count in sorted(self.counts.items())
            if count > budget.get(kind, 0)
        ]

    def _on_event(self, event: str, details: tuple[Any, ...]) -> None:
        if event == EVENT:
            self.counts[details[0]] += 1
        elif event == "subprocess.Popen":
            # (executable, arguments, folder, environment); the arguments are str, bytes or paths.
            command = " ".join(os.fsdecode(each) for each in details[1])
            if kind := kind_of(command):
                self.counts[kind] += 1
