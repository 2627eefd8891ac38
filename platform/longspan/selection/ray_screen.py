"""The screening of many objects as a Ray Data job: shards in, small results out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from longspan.errors import UserError
from longspan.ingest.manifest import ObjectManifest
from longspan.selection.overlap import OverlapIndex
from longspan.selection.screened import ScreenedObject, screen_object
from longspan.storage import Store

# As for the ingest: groups even the work out, and a small object costs more to hand out than to do.
GROUPS_PER_WORKER = 8
GROUP_TOKENS = 2**26
REPORT_SECONDS = 2.0


@dataclass(frozen=True)
class ScreenJob:
    """What all tasks have in common."""

    store: Store
    index: OverlapIndex


def screen_objects(
    job: ScreenJob, tasks: Sequence[ObjectManifest], progress: Callable[[str], None]
) -> Iterator[tuple[int, ScreenedObject]]:
    """Screen objects on one actor per available CPU.

    Yields:
        The task's number and its result, as tasks get done.

    Raises:
        UserError: the first that any of the tasks raises; the others end where they are.
    """
    import ray
    import ray.data

    cpus = max(1, int(ray.available_resources().get("CPU", 1)))
    groups = _groups(tasks, cpus)
    items = [{"group": json.dumps([[n, tasks[n].to_json()] for n in group])} for group in groups]
    worker: Any = ScreenWorker  # Ray Data makes one per actor and calls it.
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map(
        worker,
        # In a list it travels as a reference: a node's actors share one index in memory.
        fn_constructor_args=([ray.put(job)],),
        compute=ray.data.ActorPoolStrategy(size=min(cpus, len(groups))),
        num_cpus=1,
    )
    dataset.set_name("screen")
    dataset.context.enable_progress_bars = False  # Ours says more.
    report = Report(tasks, progress)
    for row in dataset.iter_rows():
        for record in json.loads(row["records"]):
            if "error" in record:
                raise UserError(record["error"])
            number = record["number"]
            report.add(tasks[number])
            yield number, ScreenedObject.from_json(record["result"])


class ScreenWorker:
    """A stateful map: the index is fetched once per actor."""

    def __init__(self, jobs: list[Any]) -> None:
        import ray

        self._job: ScreenJob = ray.get(jobs[0])

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """Screen a group of objects; a user's mistake is passed on as a record."""
        records: list[dict[str, Any]] = []
        for number, value in json.loads(row["group"]):
            item = ObjectManifest.from_json(value)
            try:
                result = screen_object(self._job.store, item, self._job.index)
            except UserError as error:
                records.append({"error": str(error)})
                break
            records.append({"number": number, "result": result.to_json()})
        return {"records": json.dumps(records)}


class Report:
    """Lines on how far the work is, some seconds apart."""

    def __init__(self, tasks: Sequence[ObjectManifest], progress: Callable[[str], None]) -> None:
        self._objects = len(tasks)
        self._total = max(1, sum(map(_tokens, tasks)))
        self._progress = progress
        self._done = self._tokens = 0
        self._start = self._last = time.monotonic()

    def add(self, item: ObjectManifest) -> None:
        """Take note that an object is done."""
        self._done += 1
        self._tokens += _tokens(item)
        now = time.monotonic()
        if now - self._last < REPORT_SECONDS and self._done < self._objects:
            return
        self._last = now
        rate = self._tokens / max(now - self._start, 1e-3)
        left = (self._total - self._tokens) / rate if rate else 0.0
        self._progress(
            f"screen: {self._done}/{self._objects} objects {self._tokens / self._total:.0%} | "
            f"{self._tokens} tokens | {rate:.0f} tok/s | {left:.0f} s left"
        )


def _groups(tasks: Sequence[ObjectManifest], workers: int) -> list[list[int]]:
    """Numbers of tasks in groups of about equal size, the largest first."""
    sizes = [_tokens(task) for task in tasks]
    limit = min(GROUP_TOKENS, sum(sizes) / (workers * GROUPS_PER_WORKER))
    groups: list[list[int]] = []
    size = 0
    for number in sorted(range(len(tasks)), key=lambda number: -sizes[number]):
        if not groups or size + sizes[number] > limit:
            groups.append([])
            size = 0
        groups[-1].append(number)
        size += sizes[number]
    return groups


def _tokens(item: ObjectManifest) -> int:
    return sum(block.tokens for block in item.train + item.heldout)
