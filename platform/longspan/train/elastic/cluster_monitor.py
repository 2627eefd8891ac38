"""Monitor of the cluster in the first worker of a group: draining nodes, free capacity, pending replicas."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from longspan._compat.ray_core import draining_nodes
from longspan.runtime.capacity import (
    Nodes,
    answering_nodes,
    available_nodes,
    max_workers,
    nodes,
    whole_groups,
)
from longspan.runtime.priorities import PendingReplica, ResourceRequest, pending_replicas
from longspan.train.host import RescaleRequest

LOOK_SECONDS = 2.0
LAST_CALL_SECONDS = 20.0
"""Before a node goes that the group has to stay on, there is one more checkpoint."""


@dataclass(frozen=True)
class Group:
    """A running worker group.

    Attributes:
        nodes: node of each worker.
        least: minimum number of workers.
        most: maximum number of workers.
        each: resources of one worker.
        grow_after_s: seconds after a start before the group may grow.
        yield_after_s: seconds that a replica of higher priority is pending before workers are given up; None: never.
        degree: workers that share a row; the group has a multiple of it.
    """

    nodes: tuple[str, ...]
    least: int
    most: int
    each: ResourceRequest
    grow_after_s: float
    yield_after_s: float | None
    degree: int = 1


class ClusterMonitor:
    """Polls the cluster every few seconds, in a thread."""

    def __init__(self, group: Group, log: Callable[[str], None]) -> None:
        """Start polling; ``log`` takes a line when that fails."""
        self._group, self._log = group, log
        self._began = time.monotonic()
        self._found: deque[RescaleRequest] = deque(maxlen=1)
        self._noticed: set[tuple[str, bool]] = set()
        self._waiting: dict[str, float] = {}
        threading.Thread(target=self._watch, daemon=True).start()

    def take(self) -> RescaleRequest | None:
        """Return the latest request to rescale, once."""
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
                    self._log(f"cannot see what happens to the cluster's nodes: {error}")
                failing = True

    def _look(self) -> RescaleRequest | None:
        group = self._group
        going = {node: at for node, at in draining_nodes().items() if node in group.nodes}
        waiting = pending_replicas() if group.yield_after_s is not None else []
        if going:
            return self._leaving(going, waiting)
        return self._yielding(self._long_waiting(waiting)) or self._growing(waiting)

    def _long_waiting(self, waiting: Sequence[PendingReplica]) -> list[PendingReplica]:
        """Claims that are to have room now."""
        now = time.monotonic()
        self._waiting = {replica.id: self._waiting.get(replica.id, now) for replica in waiting}
        patience = self._group.yield_after_s or 0.0
        return [replica for replica in waiting if now - self._waiting[replica.id] >= patience]

    def _yielding(self, waiting: Sequence[PendingReplica]) -> RescaleRequest | None:
        """Give up workers where that is of use to those who go first."""
        if not waiting:
            return None
        found, workers = nodes(), len(self._group.nodes)
        left = self._possible(found, waiting)
        # A node that is gone takes workers as well; that is not for anybody.
        if left >= min(workers, self._possible(found, ())):
            return None
        tenants = " and ".join(sorted({replica.tenant for replica in waiting}))
        return RescaleRequest(
            f"{tenants} waits for room: {left} of {workers} workers stay", leave=True
        )

    def _growing(self, waiting: Sequence[PendingReplica]) -> RescaleRequest | None:
        """Take in more workers, once this start has been left alone for long enough."""
        workers = len(self._group.nodes)
        if time.monotonic() - self._began <= self._group.grow_after_s:
            return None
        if self._possible(nodes(), waiting) <= workers:
            return None
        # Only now, for it asks every node.
        possible = self._possible(answering_nodes(), waiting)
        if possible <= workers:
            return None
        self._began = time.monotonic()
        return RescaleRequest(f"there is room for {possible} workers", leave=True)

    def _possible(self, found: Nodes, waiting: Sequence[PendingReplica]) -> int:
        """How many workers there could be on nodes."""
        group = self._group
        space = available_nodes(found, group.each, group.nodes)
        workers = max_workers(space, group.each, waiting, group.least)
        return min(whole_groups(workers, group.degree), group.most)

    def _leaving(
        self, going: dict[str, int], waiting: Sequence[PendingReplica]
    ) -> RescaleRequest | None:
        """Leave nodes that are about to go, again and again until it is done.

        With too few workers left these work on for as long as they can, with a checkpoint at once
        and one more at the end.
        """
        left = min((at / 1000 - time.time() for at in going.values() if at), default=None)
        enough = self._possible(nodes(), waiting) >= self._group.least
        last_call = left is not None and left < LAST_CALL_SECONDS
        told = {(node, last_call) for node in going}
        if not enough and told <= self._noticed:
            return None
        self._noticed |= told
        when = "" if left is None else f" in {max(left, 0.0):.0f} s"
        return RescaleRequest(f"{len(going)} of its nodes will be taken away{when}", leave=enough)
