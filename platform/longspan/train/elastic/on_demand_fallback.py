"""On-demand nodes for workers whose spot nodes do not come up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ray

from longspan.runtime.nodes import asks_on_demand, nothing, refused
from longspan.runtime.pool import LABEL, on_demand
from longspan.runtime.priorities import ResourceRequest

LOOK_SECONDS = 10.0


class Fallback:
    """Asks Ray for machines on demand while workers are missing whose machines the cloud refuses to start."""

    def __init__(
        self, worker: ResourceRequest, after: float | None, log: Callable[[str], None]
    ) -> None:
        """Nothing is missing yet.

        Args:
            worker: what one takes, and of which nodes.
            after: seconds for which workers may be missing; None: nothing is ever asked for.
            log: takes lines for a person to read.
        """
        self._worker, self._after, self._log = worker, after, log
        self._since: float | None = None
        self._looked = 0.0
        self._asked: list[Any] = []

    def look(self, missing: int) -> None:
        """Take note of how many workers are missing now."""
        now = time.time()
        came = self._came(missing)
        if not missing:
            self._since = None
        elif self._since is None or came:
            self._since = now
        if self._after is None or self._since is None or missing <= len(self._asked):
            return
        if now - self._since >= self._after and now - self._looked >= LOOK_SECONDS:
            self._looked = now
            if types := refused(self._worker.selector.get(LABEL), self._log):
                self._ask_for(missing - len(self._asked), types)

    def _came(self, missing: int) -> bool:
        """Whether machines have come that were asked for; no more are waited for than are still missing."""
        if not self._asked:
            return False
        came, waiting = ray.wait(self._asked, num_returns=len(self._asked), timeout=0)
        for task in waiting[missing:]:
            ray.cancel(task)
        self._asked = waiting[:missing]
        return bool(came)

    def _ask_for(self, workers: int, types: list[str]) -> None:
        if not self._asked:
            self._log(asks_on_demand(types))
        # A task for each: it ends at once where there is room, and leaves that to a worker.
        self._asked += [self._ask() for _ in range(workers)]

    def _ask(self) -> Any:
        resources = dict(self._worker.resources)
        task = ray.remote(
            num_cpus=resources.pop("CPU", 0),
            num_gpus=resources.pop("GPU", 0),
            resources=resources,
            label_selector=on_demand(self._worker.selector),
        )
        return task(nothing).remote()
