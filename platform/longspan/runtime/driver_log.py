"""Driver log: lines from the workers of a job, printed by the driver."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

LOST = (
    "the process that collects this output died and was started again; lines may be missing above"
)


class Lines:
    """An actor that holds lines until they are taken.

    Ray's own queue would do, but a wait on it that ends without an item raises, and the dashboard
    then counts a failed task for each of them.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._closed = False
        self._news = asyncio.Event()

    async def put(self, line: str) -> None:
        """Add a line."""
        self._lines.append(line)
        self._news.set()

    async def close(self) -> None:
        """Nothing follows."""
        self._closed = True
        self._news.set()

    async def take(self) -> list[str] | None:
        """All lines that are there, as soon as there are any; None after the last."""
        await self._news.wait()
        taken, self._lines = self._lines, []
        if not self._closed:
            self._news.clear()
        return taken or None


class Collector(Lines):
    """The actor of a job: Ray starts it again where it dies, and calls it again."""

    def __init__(self) -> None:
        super().__init__()
        if ray.get_runtime_context().was_current_actor_reconstructed:
            self._lines.append(LOST)
            self._news.set()


class DriverLog:
    """The worker's end: prints a line in the job's output, wherever the worker is."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __call__(self, line: str) -> None:
        """Returns when the line is on its way."""
        ray.get(self._actor.put.remote(line))


@contextmanager
def printed_lines() -> Iterator[DriverLog]:
    """Print, as they come, the lines that workers give to what this yields."""
    # Beside this process: any other node may go while the job goes on.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    actor = ray.remote(scheduling_strategy=here, **options)(Collector).remote()
    printer = threading.Thread(target=_print, args=(actor,), daemon=True)
    printer.start()
    try:
        yield DriverLog(actor)
    finally:
        actor.close.remote()
        printer.join(timeout=5)


def _print(actor: Any) -> None:
    try:
        while (lines := ray.get(actor.take.remote())) is not None:
            for line in lines:
                print(line, flush=True)
    except ray.exceptions.RayError:
        return  # The cluster is gone; the job says so itself.
