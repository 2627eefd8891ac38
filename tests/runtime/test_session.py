"""What a job plans for, on clusters whose machines are not up yet."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.chaos.run import Job
from tests.nodes import Cluster, environment

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(300)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with closing(Cluster()) as cluster:
        yield cluster


@pytest.fixture
def driver(cluster: Cluster) -> Iterator[Callable[..., Job]]:
    """Starts a job that wants to know what it will compute on."""
    with ExitStack() as stack:

        def start(*overrides: str) -> Job:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.runtime.device", *overrides],
                env=environment(cluster),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            return stack.enter_context(closing(Job(process)))

        yield start


@pytest.fixture
def card(tmp_path: Path) -> str:
    """A PATH on which nvidia-smi shows a GPU."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA L4, 23034\n")
    program.chmod(0o755)
    return os.pathsep.join([str(tmp_path), os.environ["PATH"]])


def of(pool: str, gpus: int = 0) -> list[str]:
    return [f"--labels=longspan.io/pool={pool}", f"--num-gpus={gpus}"]


def test_a_job_waits_for_machines_that_are_not_up_yet_and_says_so(
    cluster: Cluster, driver: Callable[..., Job], card: str
) -> None:
    cluster.add("a")
    asked = driver("workers.gpus_per_worker=1", "workers.pool=training")
    asked.said(
        r"waiting: no machine has 1 GPU free \(pool 'training'\), which workers\.gpus_per_worker"
    )
    cluster.add("b", of("serving", gpus=1))
    cluster.add("c", of("training", gpus=1), PATH=card)
    assert "device: NVIDIA L4" in asked.ended()

    unset = driver("workers.pool=data")
    unset.said("waiting: pool 'data' has no machine yet; 'ray status' shows")
    cluster.add("d", of("data"))
    assert "device: CPU" in unset.ended()

    # The GPUs of its pool are found, and nobody else's.
    assert "device: NVIDIA L4" in driver("workers.pool=training").ended()
    mistaken = driver("workers.gpus_per_worker=1", "workers.pool=serving").ended(status=2)
    assert "error: workers.gpus_per_worker: 1 is asked for, and Ray gave a machine" in mistaken
