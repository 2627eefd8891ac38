"""Workers and nodes that come, go, die and hang: the run ends with the model that it would have had."""

import signal
from collections.abc import Callable

import psutil
import pytest

from longspan.history.check import Finding
from tests.chaos.cluster import Cluster, until
from tests.chaos.run import Run, is_the_same
from tests.jobs.project import Project

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_it_grows_when_a_node_comes_and_leaves_one_that_will_be_taken_away(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    run = start("elastic", "workers.grow_after=0")
    run.said(r"waiting: room for 0 of 1 workers of 1 CPU each")
    cluster.add("a")
    run.said(r"started at update 0, workers 1")
    run.said(r"update \d+/300")
    node = cluster.add("b")
    run.said(r"noticed at update \d+, reason there is room for 2 workers")
    run.said(r"resumed at update \d+, workers 2")
    cluster.drain(node, 60)
    run.said(r"noticed at update \d+, reason 1 of its nodes will be taken away in \d+ s")
    run.ended()
    finding = is_the_same(project, "elastic", undisturbed)
    assert finding.starts == (1, 2, 1)
    assert finding.done_again == 0, "nothing was lost"


def test_a_killed_worker_costs_what_was_done_since_the_last_checkpoint(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    nodes = [cluster.add("a"), cluster.add("b")]
    run = start("killed")
    run.said(r"checkpoint at update 40")
    (worker,) = nodes[1].workers()
    worker.send_signal(signal.SIGKILL)
    run.said(r"failed: worker \d: .*; starting again from the checkpoint at update \d+")
    run.ended()
    finding = is_the_same(project, "killed", undisturbed)
    assert finding.starts == (2, 2)


def test_a_node_that_is_lost_is_done_without(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    _, node = cluster.add("a"), cluster.add("b")
    run = start("lost")
    run.said(r"checkpoint at update 40")
    node.kill()
    run.said(r"failed: worker \d: ")
    run.ended()
    finding = is_the_same(project, "lost", undisturbed)
    assert finding.starts == (2, 1)


def test_a_raylet_that_dies_takes_its_workers_with_it(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    _, node = cluster.add("a"), cluster.add("b")
    run = start("raylet")
    run.said(r"checkpoint at update 40")
    workers = node.workers()
    node.kill_raylet()
    run.said(r"failed: worker \d: ")
    until(lambda: not any(worker.is_running() for worker in workers))
    run.ended()
    finding = is_the_same(project, "raylet", undisturbed)
    assert finding.starts == (2, 1)


def test_a_worker_that_hangs_is_found(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    nodes = [cluster.add("a"), cluster.add("b")]
    run = start("hung", "workers.hang_after=5")
    run.said(r"checkpoint at update 40")
    (worker,) = nodes[1].workers()
    psutil.Process(worker.pid).suspend()
    run.said(r"failed: worker \d: ", seconds=60)
    run.ended()
    assert is_the_same(project, "hung", undisturbed).starts == (2, 2)
