"""Every kind of process that a training run has on the cluster is killed once: the run ends with its model."""

import re
from collections.abc import Callable

import psutil
import pytest

from longspan.history.check import Finding
from tests.chaos.run import Run, is_the_same
from tests.jobs.project import Project
from tests.nodes import Cluster, until

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(900)]

TITLE = re.compile(r"ray::([A-Za-z_]+)")

DATA = {
    "SplitCoordinator": r"worker \d: the coordinator of the data stream died",
    "DatasetManager": r"worker \d: (Ray Train's data manager|the coordinator of the data stream) died",
}
"""Actors that the first rows come from, and what is said of their death."""

OF_THE_RUN = {
    "RayTrainWorker": r"worker \d: a training worker died",
    "TrainController": r"Ray Train's controller died",
}

OTHERS = {
    "ActorLocationTracker",
    "Collector",
    "PlacementGroupCleaner",
    "PreemptionWatcher",
    "SynchronizationActor",
    "TrainStateActor",
    "_AutoscalingCoordinatorActor",
    "_StatsActor",
}
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
            # Agents are a node's own: it ends with them.
            if title and title[1] != "IDLE" and not title[1].endswith("Agent"):
                found.append((began, title[1], process))
    return {kind: process for _, kind, process in sorted(found, key=lambda each: each[0])}


def kill_next(cluster: Cluster, kind: str, before: dict[str, psutil.Process]) -> None:
    """Kill a kind of actor as soon as there is another one than before."""

    def look() -> psutil.Process | None:
        found = actors(cluster).get(kind)
        return found if found != before.get(kind) else None

    print("KILL", kind)
    until(look).kill()


def test_a_run_outlives_each_of_its_actors(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    cluster.add("a")
    cluster.add("b")
    run = start("actors", "training.checkpoint_every=10", "workers.max_failures=2")
    try:
        # Before their first rows are there: this run's are all delivered soon after.
        before: dict[str, psutil.Process] = {}
        for kind, message in DATA.items():
            kill_next(cluster, kind, before)
            before = actors(cluster)
            run.said(f"failed: .*{message}")
        kill_next(cluster, "MapWorker", before)
        run.said(r"checkpoint at update")
        kinds = actors(cluster)
        print(sorted(kinds))
        for kind in OTHERS:
            kinds[kind].kill()
        run.said(r"checkpoint at update")
        for kind, message in OF_THE_RUN.items():
            actors(cluster)[kind].kill()
            run.said(f"failed: .*{message}")
            run.said(r"resumed at update [1-9]\d*, workers 2")
            run.said(r"checkpoint at update")
        run.ended()
    finally:
        print("".join(run.lines))
    is_the_same(project, "actors", undisturbed)
