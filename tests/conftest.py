"""What the whole suite shares: one Ray, one tiny model."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Tests bring their own Ray, reach no hub, and leave the cores to each other.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
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
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a window of 256 tokens, as a Hugging Face folder."""
    from tests.tiny import make_tiny_model

    folder = tmp_path_factory.mktemp("tiny") / "model"
    make_tiny_model(folder)
    return folder
