"""Lines from the workers of a job to its output."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

SECONDS = 1.0
"""The most that one call waits for a line."""


class Lines:
    """An actor that holds lines until they are taken.

    Ray's own queue would do, but a wait on it that ends without an item raises, and the dashboard
    then counts a failed task for each of them.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._arrived = asyncio.Event()

    async def put(self, line: str) -> None:
        """Add a line."""
        self._lines.append(line)
        self._arrived.set()

    async def take(self, seconds: float) -> list[str]:
        """All lines that are there; waits up to ``seconds`` for the first, and may give none."""
        if not self._lines:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), seconds)
            except TimeoutError:
                return []
        taken, self._lines = self._lines, []
        return taken


class Say:
    """The worker's end: prints a line in the job's output, wherever the worker is."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __call__(self, line: str) -> None:
        """Returns when the line is on its way."""
        ray.get(self._actor.put.remote(line))


@contextmanager
def printed_lines() -> Iterator[Say]:
    """Print, as they come, the lines that workers give to what this yields."""
    actor = ray.remote(num_cpus=0)(Lines).remote()
    stop = threading.Event()
    printer = threading.Thread(target=_print, args=(actor, stop), daemon=True)
    printer.start()
    try:
        yield Say(actor)
    finally:
        stop.set()
        printer.join(timeout=5)


def _print(actor: Any, stop: threading.Event) -> None:
    try:
        while not stop.is_set():
            _print_taken(actor, SECONDS)
        _print_taken(actor, 0.0)
    except ray.exceptions.RayError:
        return  # The cluster is gone; the job says so itself.


def _print_taken(actor: Any, seconds: float) -> None:
    for line in ray.get(actor.take.remote(seconds)):
        print(line, flush=True)
