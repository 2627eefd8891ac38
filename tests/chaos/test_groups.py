"""Workers that share rows die, come and go by whole groups: the run ends with the model that it would have had."""

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from longspan.history.check import Finding
from tests.chaos.run import Run, is_the_same
from tests.jobs.project import Project
from tests.nodes import Cluster

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]

DIES = r"failed: .*worker \d: (?!WorkerHealthCheckTimeoutError)"


def test_a_lost_worker_costs_its_group_and_the_run_grows_by_whole_groups(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    nodes = [cluster.add(name) for name in "abc"]
    run = start("groups", "workers={min: 2, max: 4, sequence_parallel: 2}", "workers.grow_after=0")
    run.said(r"groups of 2 workers that share rows are on several nodes")
    run.said(r"started at update 0, workers 2")

    run.said(r"checkpoint at update 20")
    with ExitStack() as paused:  # It would be done before the other node is there.
        for node in nodes:
            if node.workers():
                paused.enter_context(node.paused())
        fourth = cluster.add("d")
    run.said(r"resumed at update \d+, workers 4")

    run.said(r"checkpoint at update")
    (worker,) = fourth.workers()
    worker.kill()
    run.said(DIES)
    run.said(r"resumed at update \d+, workers 4")

    run.said(r"checkpoint at update")
    fourth.kill()
    run.said(DIES)
    run.said(r"resumed at update \d+, workers 2")

    run.ended()
    assert is_the_same(project, "groups", undisturbed).starts == (2, 4, 4, 2)
