"""Many objects on all CPUs of the cluster, as a Ray Data job: small JSON in, small JSON out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from longspan.errors import UserError
from longspan.runtime.pool import LABEL

# Objects travel in groups: a group per worker is too few for the work to be spread evenly, and a
# group per small object costs more than doing it.
GROUPS_PER_WORKER = 8
# An actor takes seconds to start, and is to have as much to do: so many objects, or this part of a full group.
OBJECTS_PER_WORKER = 64
PARTS_OF_GROUP = 16
REPORT_SECONDS = 2.0

Json = dict[str, Any]


class Worker:
    """A stateful map of Ray Data's, built once per actor."""

    def work(self, item: Json) -> Json:
        """What becomes of one object."""
        raise NotImplementedError

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """Do a group of objects; a user's mistake ends it, and is passed on as a record."""
        records: list[Json] = []
        for item in json.loads(row["group"]):
            try:
                records.append({"result": self.work(item)})
            except (UserError, FileNotFoundError) as error:
                records.append({"error": str(error)})
                break
        return {"records": json.dumps(records)}


def run_on_all_cpus(
    name: str,
    worker: type[Worker],
    arguments: tuple[Any, ...],
    items: Sequence[tuple[Json, int]],
    most: int,
    log: Callable[[str], None],
    **actors: Any,
) -> Iterator[Json]:
    """Do all items on one actor per available CPU of the nodes that Ray Data works on, or fewer for little work.

    Args:
        name: of the job, on the dashboard.
        worker: does the work.
        arguments: what it is made with.
        items: what to do, and how large it is.
        most: size of a group; a larger item is one of its own.
        log: is told where a machine has to be waited for.
        actors: more options of Ray Data's actor pool.

    Yields:
        The results, as they come.

    Raises:
        UserError: the first that any of the items raises; the others end where they are.
    """
    import ray.data

    from longspan.runtime.nodes import free_cpus

    labels = ray.data.DataContext.get_current().execution_options.label_selector or {}
    sizes = [size for _, size in items]
    workers = max(1, min(free_cpus(labels.get(LABEL), log), _useful_workers(sizes, most)))
    groups = _groups(sizes, most, workers)
    rows = [{"group": json.dumps([items[number][0] for number in group])} for group in groups]
    actor: Any = worker  # Ray Data makes one per actor and calls it.
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        actor,
        fn_constructor_args=arguments,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(groups)), **actors),
        num_cpus=1,
    )
    dataset.set_name(name)
    dataset.context.enable_progress_bars = False  # Ours says more.
    for row in dataset.iter_rows():
        for record in json.loads(row["records"]):
            if "error" in record:
                raise UserError(record["error"])
            yield record["result"]


def _useful_workers(sizes: Sequence[int], most: int) -> int:
    """So many that each has enough to do."""
    return math.ceil(max(len(sizes) / OBJECTS_PER_WORKER, sum(sizes) * PARTS_OF_GROUP / most))


def _groups(sizes: Sequence[int], most: int, workers: int) -> list[list[int]]:
    """Numbers of items in groups of about equal size, the largest first."""
    limit = min(most, sum(sizes) / (workers * GROUPS_PER_WORKER))
    groups: list[list[int]] = []
    filled = 0
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        if not groups or filled + sizes[number] > limit:
            groups.append([])
            filled = 0
        groups[-1].append(number)
        filled += sizes[number]
    return groups


class Report:
    """Lines on how far the work is, some seconds apart."""

    def __init__(self, doing: str, sizes: Sequence[int], progress: Callable[[str], None]) -> None:
        """Nothing is done yet.

        Args:
            doing: what the lines begin with.
            sizes: of all objects.
            progress: takes the lines.
        """
        self._doing, self._objects, self._total = doing, len(sizes), max(1, sum(sizes))
        self._progress = progress
        self._done = self._size = self._tokens = 0
        self._start = self._last = time.monotonic()

    def add(self, size: int, tokens: int) -> None:
        """Take note that an object is done."""
        self._done += 1
        self._size += size
        self._tokens += tokens
        now = time.monotonic()
        if now - self._last < REPORT_SECONDS and self._done < self._objects:
            return
        self._last = now
        seconds = max(now - self._start, 1e-3)
        share = self._size / self._total
        left = seconds * (1 - share) / share if share else 0.0
        speed = f"{self._tokens} tokens | {self._tokens / seconds:.0f} tok/s | "
        self._progress(
            f"{self._doing}: {self._done}/{self._objects} objects {share:.0%} | "
            f"{speed if self._tokens else ''}{left:.0f} s left"
        )
