"""What the cluster is about to do to a group of workers, as its first worker sees it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import ray

from longspan.train.host import Notice
from longspan.train.room import Resources, draining_nodes, nodes, room, whole_room

LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class Group:
    """The workers that run.

    Attributes:
        nodes: where they are.
        workers: how many.
        least: how many there have to be.
        most: how many there may be.
        each: what one takes.
        grow_after: seconds for which a start is left alone before it grows.
    """

    nodes: frozenset[str]
    workers: int
    least: int
    most: int
    each: Resources
    grow_after: float


class Surroundings:
    """Looks at the cluster every few seconds, in a thread."""

    def __init__(self, group: Group) -> None:
        """Begin to look."""
        self._group = group
        self._began = time.monotonic()
        self._notice: Notice | None = None
        self._noticed: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def take(self) -> Notice | None:
        """What was noticed since, once."""
        notice, self._notice = self._notice, None
        return notice

    def close(self) -> None:
        """Look no more."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self._notice = self._look() or self._notice
            except ray.exceptions.RayError:  # The head is away; Ray says so.
                continue

    def _look(self) -> Notice | None:
        group = self._group
        going = {node: at for node, at in draining_nodes().items() if node in group.nodes}
        new = set(going) - self._noticed
        free = room(group.each, nodes())
        if new:
            self._noticed |= new
            deadlines = [at / 1000 - time.time() for at in going.values() if at]
            when = f" in {min(deadlines):.0f} s" if deadlines else ""
            # With too few left, who is going to go works on for as long as it can.
            enough = whole_room(group.each, nodes()) >= group.least
            return Notice(f"{len(going)} of its nodes will be taken away{when}", leave=enough)
        possible = min(group.workers + free, group.most)
        settled = time.monotonic() - self._began > group.grow_after
        if possible > group.workers and settled and not going:
            return Notice(f"there is room for {possible} workers", leave=True)
        return None
