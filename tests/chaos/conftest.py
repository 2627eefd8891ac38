"""A project, its undisturbed run, and a cluster for each test to take apart."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from longspan.history.check import Finding
from tests.chaos import oracle
from tests.chaos.bucket import Bucket
from tests.chaos.run import UPDATES, Run
from tests.jobs.project import Project
from tests.nodes import Cluster
from tests.ranks import RankServer
from tests.s3 import S3Server
from tests.tiny import make_tiny_model


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("chaos")
    # Over a bad network each object takes seconds to ingest.
    return Project(folder, make_tiny_model(folder / "base", tied=False), "", long_files=12)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with closing(Cluster()) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def undisturbed(project: Project, ranks: RankServer) -> Finding:
    """The run with one worker that nothing happens to."""
    return oracle.trained(project, ranks, UPDATES)


@pytest.fixture
def start(project: Project, cluster: Cluster) -> Iterator[Callable[..., Run]]:
    """Start a run of one or two workers on the cluster, or on another one."""
    runs: list[Run] = []

    def start(name: str, *overrides: str, on: Cluster = cluster) -> Run:
        runs.append(Run(project, on, name, "workers={min: 1, max: 2}", *overrides))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


@pytest.fixture(scope="session")
def bucket(project: Project, s3_server: S3Server) -> Bucket:
    return Bucket(project, s3_server)
