"""Every kind of process that a training run has on the cluster is killed once: the run ends with its model."""

import re
from collections.abc import Callable

import psutil
import pytest

from longspan.history.check import Finding
from tests.chaos.run import Run, is_the_same
from tests.jobs.project import Project
from tests.nodes import Cluster, until

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.long, pytest.mark.timeout(900)]

TITLE = re.compile(r"ray::([A-Za-z_]+)")

DATA = {
    "SplitCoordinator": "the coordinator of the data stream died",
    # It takes the coordinator along, if there is one yet.
    "DatasetManager": "(Ray Train's data manager|the coordinator of the data stream) died",
}
"""Actors that hand out rows, and what is said of their death."""

OF_THE_GROUP = {
    "RayTrainWorker": "a training worker died",
    "TrainController": "Ray Train's controller died",
}

OTHERS = (
    "ActorLocationTracker",
    "Collector",
    "PlacementGroupCleaner",
    "PreemptionWatcher",
    "SynchronizationActor",
    "TrainStateActor",
    "_AutoscalingCoordinatorActor",
    "_StatsActor",
)
"""Actors that Ray starts again, or that are not needed until the next start: the workers go on."""


def actors(cluster: Cluster) -> dict[str, psutil.Process]:
    """The newest process of each kind of actor on the cluster."""
    found = []
    for node in [cluster.head, *cluster.nodes]:
        for process in psutil.Process(node.process.pid).children(recursive=True):
            try:
                title, began = TITLE.match(" ".join(process.cmdline())), process.create_time()
            except psutil.Error:  # It has ended meanwhile.
                continue
            if title:
                found.append((began, title[1], process))
    return {kind: process for _, kind, process in sorted(found, key=lambda each: each[0])}


def kill_next(cluster: Cluster, kind: str, before: dict[str, psutil.Process]) -> None:
    """Kill a kind of actor as soon as there is another one than before."""

    def look() -> psutil.Process | None:
        found = actors(cluster).get(kind)
        return found if found != before.get(kind) else None

    until(look).kill()


def test_a_run_outlives_each_of_its_actors(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    cluster.add("a")
    cluster.add("b")
    run = start("actors", "workers=2", "training.checkpoint_every=10", "workers.max_failures=2")
    # At once: so small a stream is in the workers' memory a second later.
    before: dict[str, psutil.Process] = {}
    for kind, message in DATA.items():
        kill_next(cluster, kind, before)
        before = actors(cluster)
        run.said(f"failed: .*{message}")
    kill_next(cluster, "MapWorker", before)

    run.said(r"checkpoint at update")
    kinds = actors(cluster)
    for kind in OTHERS:
        kinds[kind].kill()
    run.said(r"the process that collects this output died and was started again")

    for kind, message in OF_THE_GROUP.items():
        run.said(r"checkpoint at update")
        actors(cluster)[kind].kill()
        run.said(f"failed: .*{message}")
        run.said(r"resumed at update [1-9]\d*, workers 2")
    output = run.ended()
    assert output.count("failed: ") == len(DATA) + len(OF_THE_GROUP)
    assert "Traceback" not in output
    is_the_same(project, "actors", undisturbed)
