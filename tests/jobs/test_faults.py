"""What goes wrong around a job: it ends with a clear message, or goes on, and what was done is kept."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from tests.jobs.project import ROOT, Project, said
from tests.listeners import Listeners, documented, listeners
from tests.s3 import OWNER, S3Server

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]

BAD = {
    "zz-not-text.txt": b"\xff\xfe broken \xff",
    "zz-empty.txt": b"",
}


@pytest.fixture
def bad_objects(project: Project) -> Iterator[None]:
    folder = project.folder / "store" / "corpora" / "long"
    for name, content in BAD.items():
        (folder / name).write_bytes(content)
    yield
    for name in BAD:
        (folder / name).unlink()


@pytest.mark.usefixtures("bad_objects")
def test_a_bad_object_stops_the_job_by_name(project: Project) -> None:
    stopped = project.run("name=bad")
    assert stopped.returncode != 0
    assert re.search(r"error: corpora\.long: corpora/long/zz-(not-text|empty)\.txt", said(stopped))
    assert "Traceback" not in said(stopped)
    assert not project.store.exists("runs/bad/model")


@pytest.mark.long
@pytest.mark.usefixtures("bad_objects")
def test_an_interrupted_run_over_bad_objects_goes_on_from_its_last_checkpoint(
    project: Project,
) -> None:
    # Long enough to be under way still when the line of the first checkpoint is read.
    updates = 300
    run = ("name=interrupted", f"training.tokens={512 * updates}", "packing.method=best_fit")
    run += ("bad_input=skip",)
    command = [sys.executable, "-u", "jobs/pretrain.py", str(project.recipe), *run]
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    listening: list[Listeners] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("checkpoint at update 5"):
            listening += listeners(psutil.Process().children(recursive=True))
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130, "".join(lines)[-4000:]
    assert "Interrupted. What was finished is kept" in lines[-1]
    assert "Traceback" not in "".join(lines)
    # Nothing listens that docs/cluster.md does not name, and torch listens on loopback only.
    granted = documented()
    assert {each.name for each in listening} >= {
        "gcs_server",
        "raylet",
        "driver",
        "training worker",
    }
    assert [each for each in listening if each.num_open > granted.get(each.name, 0)] == []
    (worker,) = [each for each in listening if each.name == "training worker"]
    assert worker.addresses.count("127.0.0.1") >= 2
    (skipped,) = re.findall(r"^ingest: long: .*skipped: (.*)$", "".join(lines), re.MULTILINE)
    assert skipped == "1 empty, 1 not UTF-8"

    again = project.run(*run)
    assert again.returncode == 0, said(again)[-4000:]
    (resumed,) = re.findall(r"resumed at update (\d+)", again.stdout)
    assert int(resumed) in range(5, updates, 5)
    records = project.records("interrupted", "update")
    assert [record["update"] for record in records] == list(range(1, updates + 1))
    history = project.history("interrupted")
    assert (history.starts, history.updates, history.faults) == ((1, 1), updates, ())
    assert project.store.exists("runs/interrupted/model/model.safetensors")


@pytest.mark.long
def test_a_disk_that_fills_up_costs_what_is_after_the_last_checkpoint(
    project: Project, small_disk: Path
) -> None:
    places = [
        f"corpora.{name}.path={project.folder}/store/corpora/{name}"
        for name in ("long", "short", "code")
    ]
    there = (f"storage.root={small_disk}", "training.give_up_timeout_s=0", *places)
    ingested = project.run(*there, job="ingest")
    assert ingested.returncode == 0, said(ingested)[-4000:]
    room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler = small_disk / "filler"
    filler.write_bytes(bytes(room - 2**18))

    full = project.run("name=full", *there)
    assert full.returncode != 0
    assert "No space left on device" in said(full)
    assert "make room" in said(full)
    assert "Traceback" not in said(full)

    filler.unlink()
    again = project.run("name=full", *there)
    assert again.returncode == 0, said(again)[-4000:]
    assert "Held-out loss:" in again.stdout


def test_wrong_credentials_are_one_message(project: Project, s3_server: S3Server) -> None:
    address = f"storage.endpoint={s3_server.endpoint}"
    wrong = json.dumps({"env_vars": {"AWS_SECRET_ACCESS_KEY": "not-the-secret-0123456789"}})
    refused = project.submit(
        f"storage.root=s3://{s3_server.bucket}/x", address, options=("--runtime-env-json", wrong)
    )
    assert refused.returncode != 0
    assert "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY" in said(refused)
    assert "Traceback" not in said(refused)

    assert OWNER.secret not in said(refused)
