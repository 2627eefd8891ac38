"""The ingest of many objects as a Ray Data job: raw objects in, small manifests out."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from longspan.corpus import units
from longspan.corpus.sources import SourceSpec
from longspan.errors import UserError
from longspan.ingest.manifest import ObjectManifest
from longspan.ingest.objects import Settings, ingest_object
from longspan.ingest.tokenizer import Tokenizer
from longspan.storage import ObjectInfo, Store

# Objects travel in groups: a group per worker is too few for the work to be spread evenly, and a
# group per small object costs more than reading it.
GROUPS_PER_WORKER = 8
GROUP_BYTES = 2**25
# One object is fetched while another is encoded.
CALLS_PER_WORKER = 2
REPORT_SECONDS = 2.0


@dataclass(frozen=True)
class Task:
    """One raw object, or the files of one repository, to be ingested."""

    spec: SourceSpec
    info: ObjectInfo


@dataclass(frozen=True)
class IngestJob:
    """What all tasks have in common; see `ingest` for the fields."""

    store: Store
    settings: Settings
    tokenizer: Tokenizer
    bad_input: Literal["stop", "skip"]


def ingest_objects(
    job: IngestJob, tasks: Sequence[Task], progress: Callable[[str], None]
) -> Iterator[tuple[str, ObjectManifest]]:
    """Ingest objects on one actor per available CPU.

    Yields:
        The source's name and the object's manifest, as objects get done.

    Raises:
        UserError: the first that any of the tasks raises; the others end where they are.
    """
    import ray
    import ray.data

    cpus = int(ray.available_resources().get("CPU", 1))
    groups = _groups(tasks, max(1, cpus))
    specs = {task.spec.name: task.spec for task in tasks}
    items = [{"group": json.dumps([_to_json(task) for task in group])} for group in groups]
    worker: Any = IngestWorker  # Ray Data makes one per actor and calls it.
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map(
        worker,
        fn_constructor_args=(job, specs),
        compute=ray.data.ActorPoolStrategy(
            size=max(1, min(cpus, len(groups))),
            max_tasks_in_flight_per_actor=CALLS_PER_WORKER,
            max_concurrent_calls_per_actor=CALLS_PER_WORKER,
            enable_true_multi_threading=True,
        ),
        num_cpus=1,
    )
    dataset.set_name("ingest")
    dataset.context.enable_progress_bars = False  # Ours says more.
    report = _Report(tasks, progress)
    for row in dataset.iter_rows():
        for record in json.loads(row["records"]):
            if "error" in record:
                raise UserError(record["error"])
            manifest = ObjectManifest.from_json(record["manifest"])
            report.add(manifest)
            yield record["source"], manifest


class IngestWorker:
    """A stateful map: the tokenizer is built once per actor.

    Calls come from several threads. All may fetch at a time, and one encodes.
    """

    def __init__(self, job: IngestJob, specs: dict[str, SourceSpec]) -> None:
        # The actor has one CPU; both tokenizers would start a thread on every one of the node's.
        os.environ["RAYON_NUM_THREADS"] = "1"
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._job = job
        self._specs = specs
        self._encoding = threading.Lock()

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """Ingest a group of objects; a user's mistake is passed on as a record."""
        job = self._job
        records: list[dict[str, Any]] = []
        for item in json.loads(row["group"]):
            spec, info = self._specs[item["source"]], units.from_json(item["info"])
            try:
                with units.local(job.store, info) as copy, self._encoding:
                    manifest = ingest_object(
                        job.store, spec, info, job.settings, job.tokenizer, job.bad_input, copy
                    )
            except (UserError, FileNotFoundError) as error:
                records.append({"error": str(error)})
                break
            records.append({"source": spec.name, "manifest": manifest.to_json()})
        return {"records": json.dumps(records)}


def _groups(tasks: Sequence[Task], workers: int) -> list[list[Task]]:
    """Tasks in groups of about equal size, the largest first."""
    total = sum(task.info.size for task in tasks)
    limit = min(GROUP_BYTES, total / (workers * GROUPS_PER_WORKER))
    groups: list[list[Task]] = []
    size = 0.0
    for task in sorted(tasks, key=lambda task: -task.info.size):
        if not groups or size + task.info.size > limit:
            groups.append([])
            size = 0.0
        groups[-1].append(task)
        size += task.info.size
    return groups


def _to_json(task: Task) -> dict[str, Any]:
    return {"source": task.spec.name, "info": units.to_json(task.info)}


class _Report:
    """Lines on how far the work is, some seconds apart."""

    def __init__(self, tasks: Sequence[Task], progress: Callable[[str], None]) -> None:
        self._objects = len(tasks)
        self._bytes = max(1, sum(task.info.size for task in tasks))
        self._progress = progress
        self._done = self._done_bytes = self._tokens = 0
        self._start = self._last = time.monotonic()

    def add(self, manifest: ObjectManifest) -> None:
        self._done += 1
        self._done_bytes += manifest.bytes
        self._tokens += sum(block.tokens for block in manifest.train + manifest.heldout)
        now = time.monotonic()
        if now - self._last < REPORT_SECONDS and self._done < self._objects:
            return
        self._last = now
        seconds = max(now - self._start, 1e-3)
        share = self._done_bytes / self._bytes
        left = seconds * (1 - share) / share if share else 0.0
        self._progress(
            f"ingest: {self._done}/{self._objects} objects {share:.0%} | {self._tokens} tokens | "
            f"{self._tokens / seconds:.0f} tok/s | {left:.0f} s left"
        )
