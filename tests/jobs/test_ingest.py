"""The ingest as a step of its own, also where it is killed at several moments."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray.util.state import list_actors

from longspan.history.check import check
from longspan.history.starts import read_history
from longspan.shards.manifest import SourceManifest
from longspan.storage import Store
from tests.jobs.project import ROOT, Project, said, write_corpora, write_recipe
from tests.s3 import S3Server, credentials
from tests.tiny import make_tiny_tokenizer

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]

SOURCES = ("long", "short", "code")


class Ingest:
    """`python jobs/ingest.py`, typed on a node of the cluster, for a store of its own."""

    def __init__(self, folder: Path, store: Store, dashboard: str) -> None:
        self.store, self.recipe = store, folder / "recipe.yaml"
        self._dashboard = dashboard
        # No model: its tokenizer is enough.
        make_tiny_tokenizer().save_pretrained(folder / "base")
        write_corpora(folder / "local")
        store.upload(folder / "local" / "corpora", "corpora")
        write_recipe(self.recipe, store, folder / "base")

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
    return Ingest(tmp_path, Store(str(tmp_path / "store")), job_server)


@pytest.fixture
def job_on_s3(tmp_path: Path, job_server: str, s3_server: S3Server) -> Iterator[Ingest]:
    root = f"s3://{s3_server.bucket}/{uuid.uuid4().hex}"
    with credentials(s3_server.owner):
        yield Ingest(tmp_path, Store(root, endpoint=s3_server.endpoint), job_server)


def is_the_same(job: Ingest, project: Project) -> None:
    """Its sources became what an undisturbed ingest makes of them."""
    for name in SOURCES:
        undisturbed = SourceManifest.load(project.store, name)
        assert SourceManifest.load(job.store, name).fingerprint == undisturbed.fingerprint


def test_an_ingest_that_is_killed_again_and_again_gives_what_an_undisturbed_one_gives(
    job_on_s3: Ingest, project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    job = job_on_s3
    kept: dict[str, str] = {}
    for done in (0, 30):
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
    is_the_same(job, project)


def test_a_run_starts_on_what_a_killed_ingest_has_left_ready_while_that_goes_on(
    job: Ingest, project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    job.killed(20)
    kept = job.done()
    early = {path.split("/")[1] for path in kept}
    assert early == set(SOURCES), "each source has something ready"
    model = f"base_model={project.model}"
    ingest = job.start(model)
    run = project.run("name=early", "start_on=ready", model, recipe=job.recipe)
    output, errors = ingest.communicate(timeout=200)
    assert ingest.returncode == 0, output[-4000:] + errors[-4000:]
    assert run.returncode == 0, said(run)[-4000:]
    assert job.done().items() >= kept.items()
    is_the_same(job, project)

    ready = re.search(r"data: long: (\d+) of 40 objects are ready", run.stdout)
    assert ready and int(ready[1]) < 40, said(run)[-4000:]
    finding = check(read_history(Store(f"{job.store.root}/runs/early")))
    assert not finding.faults
    assert finding.updates == 12


def test_it_says_what_every_source_became_and_needs_no_model(job: Ingest) -> None:
    assert "3 sources are there" in job.run("--validate")
    output = job.run("corpora.short.min_tokens=64")
    (row,) = re.findall(r"^short +1 +.*KiB +([\d,]+) .* ([\d,]+)$", output, re.MULTILINE)
    manifest = SourceManifest.load(job.store, "short")
    assert row == (f"{manifest.train_documents:,}", str(manifest.skipped["fewer than min_tokens"]))
    assert re.search(r"^fewer than min_tokens +0 +\d+ +0$", output, re.MULTILINE)
    assert re.search(r"^64 to 127 .* documents", output, re.MULTILINE)
