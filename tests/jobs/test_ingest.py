"""The ingest as a step of its own, also where it is killed at several moments."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray
from ray.util.state import list_actors

from longspan.ingest.manifest import SourceManifest
from longspan.storage import Store
from tests.jobs.project import ROOT, Project, write_corpora, write_recipe
from tests.tiny import make_tiny_tokenizer

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

SOURCES = ("long", "short", "code")


class Ingest:
    """`python jobs/ingest.py`, typed on a node of the cluster, for a store of its own."""

    def __init__(self, folder: Path, dashboard: str) -> None:
        self.store, self.recipe = Store(str(folder / "store")), folder / "recipe.yaml"
        self._dashboard = dashboard
        # No model: its tokenizer is enough.
        make_tiny_tokenizer().save_pretrained(folder / "base")
        write_corpora(folder / "store")
        write_recipe(self.recipe, folder / "store", folder / "base")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-u", "jobs/ingest.py", str(self.recipe), *arguments]
        environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, *arguments: str) -> str:
        """What a whole run of it prints."""
        done = self.start(*arguments)
        output, errors = done.communicate(timeout=200)
        assert done.returncode == 0, output[-4000:] + errors[-4000:]
        return output

    def killed(self, done: int) -> None:
        """Run it, and kill -9 it and its workers as soon as so many objects are done."""
        before = {actor.actor_id for actor in self._actors()}
        process = self.start()
        while process.poll() is None and not (self._workers(before) and len(self.done()) >= done):
            time.sleep(0.02)
        workers = self._workers(before)
        process.send_signal(signal.SIGKILL)
        for worker in workers:
            worker.kill()
        assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
        psutil.wait_procs(workers, timeout=60)

    def done(self) -> dict[str, str]:
        """The manifests of objects, and when each was written."""
        found = self.store.list("shards/*/*/object.json")
        return {item.path: item.version for item in found}

    def _actors(self) -> list:
        return list_actors(self._dashboard, filters=[("state", "=", "ALIVE")], limit=1000)

    def _workers(self, before: set[str]) -> list[psutil.Process]:
        """The processes of the actors that have come since."""
        new = [actor.pid for actor in self._actors() if actor.actor_id not in before]
        return [psutil.Process(pid) for pid in new if pid and psutil.pid_exists(pid)]


@pytest.fixture
def job(tmp_path: Path, job_server: str) -> Ingest:
    return Ingest(tmp_path, job_server)


def test_an_ingest_that_is_killed_again_and_again_gives_what_an_undisturbed_one_gives(
    job: Ingest, project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    kept: dict[str, str] = {}
    for done in (0, 1, 12, 30):
        job.killed(done)
        assert job.done().items() >= kept.items(), "what was done is not done again"
        kept = job.done()
        assert len(kept) >= done
    assert len(kept) < 42, "the last one was killed too late to say anything"
    output = job.run()

    todo = re.findall(r"^ingest: \w+: \d+ objects, (all done|\d+ to read)", output, re.MULTILINE)
    read = sum(int(words.split()[0]) for words in todo if words != "all done")
    assert read == 42 - len(kept)
    assert job.done().items() >= kept.items()
    for name in SOURCES:
        undisturbed = SourceManifest.load(project.store, name)
        assert SourceManifest.load(job.store, name).fingerprint == undisturbed.fingerprint


def test_it_says_what_every_source_became_and_needs_no_model(job: Ingest) -> None:
    assert "3 sources are there" in job.run("--validate")
    output = job.run("corpora.short.min_tokens=64")
    (row,) = re.findall(r"^short +1 +.*KiB +([\d,]+) .* ([\d,]+)$", output, re.MULTILINE)
    manifest = SourceManifest.load(job.store, "short")
    assert row == (f"{manifest.train_documents:,}", str(manifest.skipped["fewer than min_tokens"]))
    assert re.search(r"^fewer than min_tokens +0 +\d+ +0$", output, re.MULTILINE)
    assert re.search(r"^64 to 127 .* documents", output, re.MULTILINE)
