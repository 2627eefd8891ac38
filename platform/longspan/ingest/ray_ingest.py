"""The ingest of many objects on a Ray cluster: raw objects in, small manifests out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from longspan.corpus import units
from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.ingest.conversations import ConversationTokenizer
from longspan.ingest.objects import Settings, ingest_object
from longspan.runtime.map_objects import Json, Report, Worker, run_on_all_cpus
from longspan.shards.manifest import ObjectManifest
from longspan.storage import ObjectInfo, Store

GROUP_BYTES = 2**25
# One object is fetched while another is encoded.
CALLS_PER_WORKER = 2


@dataclass(frozen=True)
class Task:
    """One raw object, or the files of one repository, to be ingested."""

    spec: SourceSpec
    info: ObjectInfo


@dataclass(frozen=True)
class IngestJob:
    """What all tasks have in common; see `Ingest` for the fields."""

    store: Store
    settings: Settings
    tokenizer: Tokenizer | None
    """Of texts; None where there are none."""
    chat_tokenizer: ConversationTokenizer | None
    """Of conversations; None where there are none."""
    bad_input: Literal["stop", "skip"]

    def tokenizer_of(self, spec: SourceSpec) -> Tokenizer | ConversationTokenizer:
        """What encodes a source's documents."""
        found = self.chat_tokenizer if spec.format == "chat" else self.tokenizer
        assert found, f"no tokenizer for {spec.format} of {spec.name}"
        return found


def ingest_objects(
    job: IngestJob, tasks: Sequence[Task], progress: Callable[[str], None]
) -> Iterator[tuple[str, ObjectManifest]]:
    """Ingest objects on the CPUs that are available.

    Yields:
        The source's name and the object's manifest, as objects get done.

    Raises:
        UserError: the first that any of the tasks raises; the others end where they are.
    """
    specs = {task.spec.name: task.spec for task in tasks}
    items = [
        ({"source": task.spec.name, "info": units.to_json(task.info)}, task.info.size)
        for task in tasks
    ]
    report = Report("ingest", [task.info.size for task in tasks], progress)
    for result in run_on_all_cpus(
        "ingest",
        IngestWorker,
        (job, specs),
        items,
        GROUP_BYTES,
        progress,
        max_tasks_in_flight_per_actor=CALLS_PER_WORKER,
        max_concurrent_calls_per_actor=CALLS_PER_WORKER,
        enable_true_multi_threading=True,
    ):
        manifest = ObjectManifest.from_json(result["manifest"])
        report.add(manifest.bytes, manifest.tokens)
        yield result["source"], manifest


class IngestWorker(Worker):
    """Calls come from several threads: all may fetch at a time, and one encodes."""

    def __init__(self, job: IngestJob, specs: dict[str, SourceSpec]) -> None:
        # The actor has one CPU; both tokenizers would start a thread on every one of the node's.
        os.environ["RAYON_NUM_THREADS"] = "1"
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        self._job = job
        self._specs = specs
        self._encoding = threading.Lock()

    def work(self, item: Json) -> Json:
        """See `Worker.work`."""
        job, spec, info = self._job, self._specs[item["source"]], units.from_json(item["info"])
        with units.local(job.store, info) as copy, self._encoding:
            manifest = ingest_object(
                job.store, spec, info, job.settings, job.tokenizer_of(spec), job.bad_input, copy
            )
        return {"source": spec.name, "manifest": manifest.to_json()}
