"""What the whole suite shares: one Ray, one tiny model."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.ranks import RankServer

from tests.distribution import pytest_collection_modifyitems  # noqa: F401
from tests.ports import free_ports
from tests.s3 import s3_server  # noqa: F401
from tests.sample_model import sample_model  # noqa: F401
from tests.session_rules import pytest_addoption, pytest_configure  # noqa: F401

ROOT = Path(__file__).parents[1]

# Tests bring their own Ray, reach no hub, and leave the cores to each other.
os.environ["RAY_AUTH_MODE"] = "disabled"
for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # a person's own head
    os.environ.pop(name, None)
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes depends on what else runs.
hypothesis.settings.register_profile("random", deadline=None)
# The same examples each time: what fails has been changed. `--hypothesis-profile=random` looks for new ones.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")
# A test that reads Ray's metrics need not wait ten seconds for them, nor Serve before it adds or ends a replica.
os.environ.update(
    RAY_metrics_report_interval_ms="2000",
    RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S="1",
    RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S="1",
)
# What drivers say comes through pipes without the help of a person's shell.
os.environ.pop("PYTHONUNBUFFERED", None)
# A job's `python` is this one.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
# Ray's processes get S3 credentials as a cluster's do: from a file, which a test may fill.
CREDENTIALS = Path(tempfile.mkdtemp(prefix="longspan-aws-")) / "credentials"
os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(CREDENTIALS)
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
# Processes of Ray import the package and the tests from here.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])


@pytest.fixture(scope="session")
def ray_session() -> Iterator[str]:
    """A local Ray with its dashboard; gives the dashboard's address.

    Started by the command, because only that takes a port for the agent: with the default one, a
    second Ray on the machine has an agent that answers for the first.
    """
    import ray

    gcs, dashboard, agent = free_ports(3)
    # Short, for Ray's Unix sockets.
    folder = tempfile.mkdtemp(prefix="ls-", dir="/tmp")
    command = ["ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}"]
    command += [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    command += ["--num-cpus=4", f"--temp-dir={folder}", "--disable-usage-stats"]
    head = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: _connected(f"127.0.0.1:{gcs}"), seconds=180, of=ConnectionError)
        yield f"http://127.0.0.1:{dashboard}"
    finally:
        ray.shutdown()
        _kill(head)
        shutil.rmtree(folder, ignore_errors=True)


def _kill(head: subprocess.Popen[bytes]) -> None:
    """End the head and all that it has started; asked politely it takes half a minute."""
    import psutil

    parent = psutil.Process(head.pid)
    processes = [parent, *parent.children(recursive=True)]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    head.wait(timeout=60)
    psutil.wait_procs(processes, timeout=60)


def _connected(address: str) -> None:
    import ray

    ray.init(address=address, logging_level="ERROR")


def _until(
    action: Callable[[], object], seconds: float, of: type[Exception] | tuple[type[Exception], ...]
) -> None:
    """Call ``action`` until it no longer fails with ``of``; past the deadline its failure stands."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            action()
            return
        except of:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


@pytest.fixture(scope="session")
def ranks() -> "RankServer":
    """Groups of training processes, forked from one that has imported everything."""
    from tests.ranks import RankServer

    return RankServer()


@pytest.fixture(scope="session")
def job_server(ray_session: str) -> str:
    """The dashboard's address, once it takes jobs (the agent that runs them starts later than Ray)."""
    from ray.job_submission import JobSubmissionClient

    def submitted() -> None:
        JobSubmissionClient(ray_session).submit_job(entrypoint="true")

    # The client cannot reach a dashboard that is not up yet, and is told so when the agent is not.
    _until(submitted, seconds=180, of=(RuntimeError, ConnectionError))
    return ray_session


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a window of 256 tokens, as a Hugging Face folder."""
    from tests.tiny import make_tiny_model

    folder = tmp_path_factory.mktemp("tiny") / "model"
    make_tiny_model(folder)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a file system of its own")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
