"""A project, its undisturbed run, and a cluster for each test to take apart."""

from collections.abc import Callable, Iterator

import pytest

from longspan.history.check import Finding
from tests.chaos.cluster import Cluster
from tests.chaos.run import Run
from tests.jobs.project import Project
from tests.tiny import make_tiny_model


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("chaos")
    return Project(folder, make_tiny_model(folder / "base", tied=False), dashboard="")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def undisturbed(project: Project) -> Finding:
    """The run with one worker that nothing happens to."""
    cluster = Cluster()
    try:
        cluster.add("a")
        Run(project, cluster, "undisturbed").ended()
    finally:
        cluster.close()
    return project.history("undisturbed")


@pytest.fixture
def start(project: Project, cluster: Cluster) -> Iterator[Callable[..., Run]]:
    """Start a run of one or two workers on the cluster."""
    runs: list[Run] = []

    def start(name: str, *overrides: str) -> Run:
        runs.append(Run(project, cluster, name, "workers={min: 1, max: 2}", *overrides))
        return runs[-1]

    yield start
    for run in runs:
        run.close()
