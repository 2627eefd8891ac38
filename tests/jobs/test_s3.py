"""The whole job with everything it reads and writes on an S3 server: corpora, model, checkpoints, metrics."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.job_submission import JobSubmissionClient

from longspan.history.check import check, compare
from longspan.history.starts import read_history
from longspan.observe.metrics import read_metrics
from longspan.storage import Store
from tests.fault_proxy import FaultProxy, Faults
from tests.jobs.project import Project, said
from tests.s3 import OWNER, S3Server, credentials

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_a_run_on_s3_is_the_run_in_a_folder(
    project: Project,
    first_run: subprocess.CompletedProcess[str],
    s3_server: S3Server,
    tmp_path: Path,
) -> None:
    root = f"s3://{s3_server.bucket}/project"
    with credentials(s3_server.owner):
        store = Store(root, endpoint=s3_server.endpoint)
        store.upload(project.folder / "store" / "corpora", "corpora")
        store.upload(project.model, "models/tiny")
        there = (f"storage.root={root}", f"storage.endpoint={s3_server.endpoint}")
        done = project.submit("name=s3", "base_model=models/tiny", *there)
        assert done.returncode == 0, said(done)[-4000:]

        curve = [r for r in read_metrics(store, "runs/s3/metrics") if r["kind"] == "update"]
        in_a_folder = project.records("tiny", "update")
        assert [r["loss"] for r in curve] == [r["loss"] for r in in_a_folder]
        assert f"Exported model:  {root}/runs/s3/model" in done.stdout
        assert store.exists("runs/s3/update-0000012/seal-00000.json")
        assert store.exists("runs/s3/plots/loss-by-position.png")
        store.download("runs/s3/model", tmp_path / "model")
        here = project.folder / "store" / "runs" / "tiny" / "model" / "model.safetensors"
        assert (tmp_path / "model" / "model.safetensors").read_bytes() == here.read_bytes()

        again = project.submit("name=s3", "base_model=models/tiny", *there)
        assert "resumed at update 12" in again.stdout, said(again)[-4000:]
        for item in store.list("runs/s3"):
            assert OWNER.secret.encode() not in store.read_bytes(item.path), item.path
    for text in (said(done), said(again), str(JobSubmissionClient(project.dashboard).list_jobs())):
        assert OWNER.secret not in text
    assert OWNER.secret not in "".join(logs())


def logs() -> Iterator[str]:
    """All that Ray's processes, and the jobs' drivers among them, have written to its logs."""
    folder = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_text(errors="replace")


def test_a_bad_network_changes_nothing(
    project: Project, first_run: subprocess.CompletedProcess[str], s3_server: S3Server
) -> None:
    root = f"s3://{s3_server.bucket}/bad-network"
    faults = Faults(slow_down=0.3, reset=0.05, truncate=0.1, flip=True)
    with credentials(s3_server.owner), FaultProxy(s3_server.endpoint, faults, 7).running() as proxy:
        store = Store(root, endpoint=s3_server.endpoint)
        store.upload(project.folder / "store" / "corpora", "corpora")
        store.upload(project.model, "models/tiny")
        there = (f"storage.root={root}", f"storage.endpoint={proxy.endpoint}")
        done = project.submit("name=bad", "base_model=models/tiny", *there)
        assert done.returncode == 0, said(done)[-4000:]
        curve = [r for r in read_metrics(store, "runs/bad/metrics") if r["kind"] == "update"]
        in_a_folder = project.records("tiny", "update")
        assert [r["loss"] for r in curve] == [r["loss"] for r in in_a_folder]
        history = check(read_history(Store(f"{root}/runs/bad", endpoint=s3_server.endpoint)))
        assert history.faults == ()
        assert compare(history, project.history("tiny")) == []
    assert all(proxy.injected[kind] > 0 for kind in ("slow_down", "reset", "truncate", "flip"))
