"""The whole job with everything it reads and writes on an S3 server, over a network that fails in most ways."""

import subprocess
from pathlib import Path

import pytest
import ray
from ray.job_submission import JobSubmissionClient

from longspan.observe.metrics import read_metrics
from longspan.storage import Store
from tests.fault_proxy import FaultProxy, Faults
from tests.jobs.project import Project, said
from tests.jobs.standalone import forked
from tests.ranks import RankServer
from tests.s3 import OWNER, S3Server, credentials

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.long, pytest.mark.timeout(900)]

# Without stalls, each of which costs a minute: tests of the storage have them, with less patience.
FAULTS = Faults(slow_down=0.1, reset=0.03, truncate=0.05, flip=True)


def test_a_run_on_s3_is_the_run_in_a_folder(
    ranks: RankServer,
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
        run = ("name=s3", "base_model=models/tiny", f"storage.root={root}")
        with FaultProxy(s3_server.endpoint, FAULTS, seed=1).running() as proxy:
            done = project.submit(*run, f"storage.endpoint={proxy.endpoint}")
        assert done.returncode == 0, said(done)[-4000:]
        # Else it proved nothing.
        assert set(proxy.injected) >= {"slow_down", "reset", "truncate", "flip"}, proxy.injected

        curve = [r for r in read_metrics(store, "runs/s3/metrics") if r["kind"] == "update"]
        in_a_folder = project.records("tiny", "update")
        assert [r["loss"] for r in curve] == [r["loss"] for r in in_a_folder]
        assert f"Exported model:  {root}/runs/s3/model" in done.stdout
        assert store.exists("runs/s3/checkpoints/update-0000012/checkpoint.json")
        assert store.exists("runs/s3/plots/loss-by-position.png")
        store.download("runs/s3/model", tmp_path / "model")
        here = project.folder / "store" / "runs" / "tiny" / "model" / "model.safetensors"
        assert (tmp_path / "model" / "model.safetensors").read_bytes() == here.read_bytes()

        again = forked(ranks, project, *run, f"storage.endpoint={s3_server.endpoint}")
        assert "resumed at update 12, workers 2" in again.stdout, said(again)[-4000:]
        for item in store.list("runs/s3"):
            assert OWNER.secret.encode() not in store.read_bytes(item.path), item.path
    for text in (said(done), said(again), repr(JobSubmissionClient(project.dashboard).list_jobs())):
        assert OWNER.secret not in text
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    logs = [path for path in (session / "logs").rglob("*") if path.is_file()]
    assert logs, session
    for path in logs:
        assert OWNER.secret.encode() not in path.read_bytes(), path
