"""What the whole suite shares: one Ray, one tiny model."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3 import s3_server  # noqa: F401

ROOT = Path(__file__).parents[1]

# Tests bring their own Ray, reach no hub, and leave the cores to each other.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
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
    """A local Ray with its dashboard; gives the dashboard's address."""
    import ray

    # Short, for Ray's Unix sockets.
    folder = tempfile.mkdtemp(prefix="ls-", dir="/tmp")
    context = ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=True,
        dashboard_port=0,
        _temp_dir=folder,
        logging_level="ERROR",
    )
    yield f"http://{context.dashboard_url}"
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def job_server(ray_session: str) -> str:
    """The dashboard's address, once it takes jobs (the agent that runs them starts later than Ray)."""
    from ray.job_submission import JobSubmissionClient

    client = JobSubmissionClient(ray_session)
    deadline = time.monotonic() + 180
    while True:
        try:
            client.submit_job(entrypoint="true")
            return ray_session
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a window of 256 tokens, as a Hugging Face folder."""
    from tests.tiny import make_tiny_model

    folder = tmp_path_factory.mktemp("tiny") / "model"
    make_tiny_model(folder)
    return folder
