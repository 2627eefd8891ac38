"""The screening of many objects on a Ray cluster: shards in, small results out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from longspan.runtime.map_objects import Json, Report, Worker, run_on_all_cpus
from longspan.selection.overlap import OverlapIndex
from longspan.selection.screened import ScreenedObject, screen_object
from longspan.shards.manifest import ObjectManifest
from longspan.storage import Store

GROUP_TOKENS = 2**26


@dataclass(frozen=True)
class ScreenJob:
    """What all tasks have in common."""

    store: Store
    index: OverlapIndex


def screen_on_ray(
    job: ScreenJob, tasks: Sequence[ObjectManifest], progress: Callable[[str], None]
) -> Iterator[tuple[int, ScreenedObject]]:
    """Screen objects on the CPUs that are available.

    Yields:
        The task's number and its result, as tasks get done.

    Raises:
        UserError: the first that any of the tasks raises; the others end where they are.
    """
    import ray

    items = [
        ({"number": number, "object": task.to_json()}, task.tokens)
        for number, task in enumerate(tasks)
    ]
    report = Report("screen", [task.tokens for task in tasks], progress)
    # In a list it travels as a reference: a node's actors share one index in memory.
    shared = ([ray.put(job)],)
    for result in run_on_all_cpus("screen", ScreenWorker, shared, items, GROUP_TOKENS, progress):
        tokens = tasks[result["number"]].tokens
        report.add(tokens, tokens)
        yield result["number"], ScreenedObject.from_json(result["result"])


def screen_here(
    job: ScreenJob, tasks: Sequence[ObjectManifest], progress: Callable[[str], None]
) -> Iterator[tuple[int, ScreenedObject]]:
    """The same in this process."""
    report = Report("screen", [task.tokens for task in tasks], progress)
    for number, item in enumerate(tasks):
        yield number, screen_object(job.store, item, job.index)
        report.add(item.tokens, item.tokens)


class ScreenWorker(Worker):
    """The index is fetched once per actor."""

    def __init__(self, jobs: list[Any]) -> None:
        import ray

        self._job: ScreenJob = ray.get(jobs[0])

    def work(self, item: Json) -> Json:
        """See `Worker.work`."""
        screened = ObjectManifest.from_json(item["object"])
        result = screen_object(self._job.store, screened, self._job.index)
        return {"number": item["number"], "result": result.to_json()}
