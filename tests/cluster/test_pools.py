"""A run on a cluster of pools: its workers and its data keep to the nodes that are meant for them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ray.util.state import list_actors

from tests.chaos.run import Run
from tests.jobs.project import Project
from tests.nodes import Cluster
from tests.tiny import make_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with closing(Cluster(dashboard=True)) as cluster:
        yield cluster


def test_workers_and_data_wait_for_their_pools_and_keep_to_them(
    cluster: Cluster, tmp_path: Path
) -> None:
    project = Project(tmp_path, make_tiny_model(tmp_path / "base", tied=False), dashboard="")
    cluster.add("other")
    pools = ("workers.pool=training", "data.pool=data", "heldout.every=6")
    with closing(Run(project, cluster, "pools", "training.tokens=6144", *pools)) as run:
        run.said("waiting: pool 'training' has no machine yet")
        training = cluster.add("training", ["--labels=longspan.io/pool=training"])
        run.said("waiting: no machine of pool 'data' has a CPU")
        data = cluster.add("data", ["--labels=longspan.io/pool=data"])
        run.ended()
    assert project.history("pools").updates == 12
    actors: list[Any] = list_actors(cluster.dashboard, detail=True, limit=1000)
    assert nodes_of("RayTrainWorker", actors) == {training.id}
    assert nodes_of("MapWorker", actors) == {data.id}


def nodes_of(kind: str, actors: list[Any]) -> set[str]:
    """Where actors of a class were."""
    return {actor.node_id for actor in actors if kind in actor.class_name}
