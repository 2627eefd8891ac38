"""Elastic scaling policy: how a worker group changes its size, and which failures end a run.

Ray Train restarts the group; when, and with how many workers, is decided here. Its own policy gives
what has been done since the last checkpoint away when it grows, counts nodes that are about to go
and what other jobs have taken as room, and makes no difference between failures.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ray.train import (
    ControllerError,
    PreemptionError,
    ScalingConfig,
    TrainingFailedError,
    WorkerGroupError,
)
from ray.train.constants import TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S
from ray.util.placement_group import PlacementGroup

from longspan._compat.ray_train import GroupSizePolicy, is_startup_timeout
from longspan.addresses import redacted
from longspan.errors import Unreachable, UserError, user_error_in
from longspan.runtime.capacity import (
    Resources,
    answering_nodes,
    available_nodes,
    max_workers,
    whole_groups,
    worker_nodes,
)
from longspan.runtime.priorities import ResourceRequest, pending_replicas
from longspan.runtime.process_deaths import death_in
from longspan.train.elastic.on_demand_fallback import Fallback
from longspan.train.elastic.orphaned_groups import remove_orphaned_groups
from longspan.train.host import Restart

SETTLING_SECONDS = 10.0
"""How long what has ended may take to leave its place."""
SAY_SECONDS = 30.0


class RoomPolicy(GroupSizePolicy):
    """Starts as many workers as there is room for; a group that runs is left alone.

    It ends itself, after a checkpoint, when there is room for more or a node is about to go (see
    `surroundings`).
    """

    def __init__(
        self,
        scaling_config: ScalingConfig,
        worker: ResourceRequest,
        yields: bool,
        fallback: Fallback,
        log: Callable[[str], None],
        degree: int = 1,
    ) -> None:
        """Nothing is asked yet.

        Args:
            scaling_config: Ray Train's, with the least and the most workers.
            worker: what one takes, and of which nodes.
            yields: whether those have their room before who go first (`longspan.runtime.priorities`).
            fallback: is told how many workers are missing.
            log: takes lines for a person to read.
            degree: how many workers share a row; there are only whole groups of so many.
        """
        self._config = scaling_config
        self._worker, self._yields, self._log, self._degree = worker, yields, log, degree
        self._fallback = fallback
        self._group: PlacementGroup | None = None
        self._unseen = False
        self._asked: float | None = None
        self._said = -SAY_SECONDS

    def on_controller_start(self) -> None:
        """See `GroupSizePolicy`."""
        # A group that is taken down has failed, or has nothing left to do.
        os.environ[TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S] = "2"

    def on_group_start(self, has_started: bool) -> None:
        """See `GroupSizePolicy`."""
        self._group, self._unseen = None, has_started

    def on_group_poll(self, group: PlacementGroup, num_workers: int) -> None:
        """See `GroupSizePolicy`."""
        # Ray Train asks what to do next before it takes a group down that has ended.
        self._group, self._unseen, self._asked = group, False, None
        self._fallback.look(self._config.max_workers - num_workers)

    def num_workers_to_start(self) -> int | None:
        """As many as there is room for, once that has settled."""
        remove_orphaned_groups()
        config, worker = self._config, self._worker
        now = time.monotonic()
        self._asked = self._asked or now
        nodes = answering_nodes()
        space = available_nodes(nodes, worker, worker_nodes(self._group))
        waiting = pending_replicas() if self._yields else []
        degree = self._degree
        fitting = whole_groups(max_workers(space, worker, waiting, config.min_workers), degree)
        workers = min(fitting, config.max_workers)
        possible = min(whole_groups(max_workers(nodes, worker), degree), config.max_workers)
        if possible < config.min_workers:
            self._fallback.look(config.max_workers - possible)
        waited = now - self._asked
        if workers < possible and waited < SETTLING_SECONDS:
            return None
        if workers < config.min_workers and self._unseen:
            # It failed before it was ever looked at, and still holds its place.
            return config.min_workers
        if workers < config.min_workers:
            if now - self._said >= SAY_SECONDS:
                self._said = now
                self._log(waiting_line(workers, config.min_workers, worker.resources))
            return None
        return workers


def waiting_line(available_nodes: int, least: int, each: Resources) -> str:
    """What is waited for, in words: a cluster that grows by itself starts small, so it is no error."""
    taken = " and ".join(f"{share:g} {name}" for name, share in each.items() if share)
    return (
        f"waiting: room for {available_nodes} of {least} workers of {taken} each; 'ray status' shows what is "
        "asked for; to give up: Ctrl-C, or `ray job stop` where the job was submitted"
    )


class ProgressPolicy:
    """A failure is tried again, unless it is a user's mistake or comes back without any progress."""

    def __init__(
        self, latest_update: Callable[[], int], most: int, log: Callable[[str], None]
    ) -> None:
        """Nothing has failed yet.

        Args:
            latest_update: updates done at the run's latest checkpoint.
            most: failures in a row without a new checkpoint between them.
            log: takes lines for a person to read.
        """
        self._latest_update, self._most, self._log = latest_update, most, log
        self._failures = self._update = 0

    def should_retry(self, error: TrainingFailedError) -> bool:
        """See `RetryPolicy`; also the driver's decision where Ray Train's controller has died."""
        mistake = user_error_in(error)
        if mistake and not isinstance(mistake, Unreachable):
            return False
        if _is_planned(error):
            self._log(f"starting again: {_reason(error) or _in_words(error)}")
            return True
        try:
            update = self._latest_update()
        except (UserError, OSError):  # The store is gone as well: no progress that is known of.
            update = self._update
        self._failures = self._failures + 1 if update <= self._update else 1
        self._update = max(update, self._update)
        what = _in_words(error)
        if self._failures > self._most:
            times = "once" if self._failures == 1 else f"{self._failures} times in a row"
            self._log(f"failed {times} without a new checkpoint: {what}")
            return False
        self._log(f"failed: {what}; starting again from the checkpoint at update {update}")
        return True


def _is_planned(error: TrainingFailedError) -> bool:
    """Whether nothing is wrong: the workers left, their nodes were taken, or there was no room yet."""
    if isinstance(error, ControllerError):
        return is_startup_timeout(error.controller_failure)
    return isinstance(error, PreemptionError) or _reason(error) is not None


def _reason(error: TrainingFailedError) -> str | None:
    """Why the workers left, if they have."""
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    return next((str(failure) for failure in failures if isinstance(failure, Restart)), None)


def _in_words(error: TrainingFailedError) -> str:
    if isinstance(error, WorkerGroupError):
        workers: dict[str, list[int]] = {}
        for rank, failure in sorted(error.worker_failures.items(), key=_deaths_first):
            what = death_in(failure) or f"{type(failure).__name__}: {_first_line(failure)}"
            workers.setdefault(what, []).append(rank)
        found = [f"worker {ranks[0]}: {what}{_others(ranks)}" for what, ranks in workers.items()]
        return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
    if isinstance(error, ControllerError):
        return death_in(error) or _first_line(error.controller_failure)
    return _first_line(error)


def _others(ranks: list[int]) -> str:
    """How many workers say the same as the first of them."""
    others = len(ranks) - 1
    noun = "worker" if others == 1 else "workers"
    return f" (the same on {others} other {noun})" if others else ""


def _deaths_first(failure: tuple[int, Exception]) -> tuple[bool, int]:
    """Order of failures: those of the others follow from a death."""
    rank, error = failure
    return death_in(error) is None, rank


def _first_line(error: Exception) -> str:
    lines = redacted(str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
