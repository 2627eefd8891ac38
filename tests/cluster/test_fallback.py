"""Spot machines that the cloud refuses: Ray's own autoscaler brings those of the pool on demand."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.chaos.run import Run
from tests.cluster.scarce import cloud
from tests.jobs.project import Project
from tests.nodes import Cluster
from tests.tiny import make_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.long, pytest.mark.timeout(300)]


REFUSED = "no machine of type training can be had: asking for machines on demand"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with closing(Cluster(cloud())) as cluster:
        yield cluster


def test_machines_on_demand_come_where_spot_ones_are_refused(
    cluster: Cluster, tmp_path: Path
) -> None:
    project = Project(tmp_path, make_tiny_model(tmp_path / "base", tied=False), dashboard="")
    workers = "workers={min: 1, max: 2, pool: training, on_demand_after_s: 5, grow_after_s: 0}"
    long = ("training.tokens=5120000", "heldout.every=10000", "data.pool=training")
    with closing(Run(project, cluster, "scarce", workers, *long)) as run:
        run.said(REFUSED)
        run.said(r"(started|resumed) at update \d+, workers 2")
    assert sum(REFUSED in line for line in run.lines) == 2, (
        "for the first machine, and for the second"
    )
