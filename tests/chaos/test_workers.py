"""Workers and nodes that hang and die: the run ends with the model that it would have had."""

from collections.abc import Callable

import pytest

from longspan.history.check import Finding
from tests.chaos.run import Run, is_the_same
from tests.jobs.project import Project
from tests.nodes import Cluster, until

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.long, pytest.mark.timeout(600)]

HANGS = r"failed: worker \d: WorkerHealthCheckTimeoutError"
DIES = r"failed: .*worker \d: (?!WorkerHealthCheckTimeoutError)"


def test_a_run_outlives_its_workers_and_does_without_nodes_that_are_lost(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    first, second, third = (cluster.add(name) for name in "abc")
    run = start("deaths", "workers.max=3", "workers.hang_timeout_s=10")

    run.said(r"checkpoint at update 40")
    with second.paused():
        run.said(HANGS)
    run.said(r"resumed at update \d+, workers 3")

    run.said(r"checkpoint at update")
    (worker,) = third.workers()
    worker.kill()
    run.said(DIES + r".*; starting again from the checkpoint at update \d+")
    run.said(r"resumed at update \d+, workers 3")

    run.said(r"checkpoint at update")
    workers = third.workers()
    third.kill_raylet()
    run.said(DIES)
    until(lambda: not any(worker.is_running() for worker in workers))
    run.said(r"resumed at update \d+, workers 2")

    run.said(r"checkpoint at update")
    second.kill()
    run.said(DIES)
    run.said(r"resumed at update \d+, workers 1")

    run.ended()
    assert first.process.poll() is None
    assert is_the_same(project, "deaths", undisturbed).starts == (3, 3, 3, 2, 1)
