"""What the cluster is about to do to a group of workers, as its first worker sees it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from longspan.train.host import Notice
from longspan.train.room import Resources, answering_nodes, draining_nodes, nodes, room

LOOK_SECONDS = 2.0
LAST_CALL_SECONDS = 20.0
"""Before a node goes that the group has to stay on, there is one more checkpoint."""


@dataclass(frozen=True)
class Group:
    """The workers that run.

    Attributes:
        nodes: where each of them is.
        least: how many there have to be.
        most: how many there may be.
        each: what one takes.
        grow_after: seconds for which a start is left alone before it grows.
    """

    nodes: tuple[str, ...]
    least: int
    most: int
    each: Resources
    grow_after: float


class Surroundings:
    """Looks at the cluster every few seconds, in a thread."""

    def __init__(self, group: Group, say: Callable[[str], None]) -> None:
        """Begin to look; ``say`` is told when that fails."""
        self._group, self._say = group, say
        self._began = time.monotonic()
        self._found: deque[Notice] = deque(maxlen=1)
        self._noticed: set[tuple[str, bool]] = set()
        threading.Thread(target=self._watch, daemon=True).start()

    def take(self) -> Notice | None:
        """What was noticed since, once."""
        return self._found.popleft() if self._found else None

    def _watch(self) -> None:
        failing = False
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                if notice := self._look():
                    self._found.append(notice)
                failing = False
            except Exception as error:  # The head is away, say: no reason to end what runs.
                if not failing:
                    self._say(f"cannot see what happens to the cluster's nodes: {error}")
                failing = True

    def _look(self) -> Notice | None:
        group = self._group
        going = {node: at for node, at in draining_nodes().items() if node in group.nodes}
        if going:
            return self._leaving(going)
        if time.monotonic() - self._began <= group.grow_after:
            return None
        if self._possible() <= len(group.nodes):
            return None
        # Only now, for it asks every node.
        possible = min(len(group.nodes) + room(group.each, answering_nodes()), group.most)
        if possible <= len(group.nodes):
            return None
        self._began = time.monotonic()
        return Notice(f"there is room for {possible} workers", leave=True)

    def _possible(self) -> int:
        """How many workers there could be on the nodes that stay."""
        staying = nodes()
        ours = sum(node in staying for node in self._group.nodes)
        return min(ours + room(self._group.each, staying), self._group.most)

    def _leaving(self, going: dict[str, int]) -> Notice | None:
        """Leave nodes that are about to go, again and again until it is done.

        With too few workers left these work on for as long as they can, with a checkpoint at once
        and one more at the end.
        """
        left = min((at / 1000 - time.time() for at in going.values() if at), default=None)
        enough = self._possible() >= self._group.least
        last_call = left is not None and left < LAST_CALL_SECONDS
        told = {(node, last_call) for node in going}
        if not enough and told <= self._noticed:
            return None
        self._noticed |= told
        when = "" if left is None else f" in {max(left, 0.0):.0f} s"
        return Notice(f"{len(going)} of its nodes will be taken away{when}", leave=enough)
