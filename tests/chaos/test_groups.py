"""Workers that share rows die, come and go by whole groups: the run ends with the model that it would have had."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from longspan.history.check import Finding
from tests.chaos.run import Run, is_the_same
from tests.jobs.project import Project
from tests.nodes import Cluster, Node

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]

DIES = r"failed: .*worker \d: (?!WorkerHealthCheckTimeoutError)"


def test_a_lost_worker_costs_its_group_and_the_run_grows_by_whole_groups(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    nodes = [cluster.add(name) for name in "abc"]
    run = start(
        "groups", "workers={min: 2, max: 4, sequence_parallel: 2}", "workers.grow_after_s=0"
    )
    run.said(r"groups of 2 workers that share rows are on several nodes")
    run.said(r"started at update 0, workers 2")

    run.said(r"checkpoint at update 20")
    with standing_still(nodes):
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


def test_a_drained_node_gives_up_its_group_without_a_loss_and_a_new_node_completes_it(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    nodes = [cluster.add(name) for name in "abcd"]
    run = start(
        "drained", "workers={min: 2, max: 4, sequence_parallel: 2}", "workers.grow_after_s=0"
    )
    run.said(r"started at update 0, workers 4")

    run.said(r"checkpoint at update 20")
    drained, *others = nodes
    with standing_still(nodes):
        cluster.drain(drained, seconds=120)
    run.said(r"rescale_requested at update \d+, reason 1 of its nodes will be taken away in \d+ s")
    # Three nodes have room for one group; what the drained node's group has computed is not lost.
    run.said(r"resumed at update \d+, workers 2")

    run.said(r"checkpoint at update")
    with standing_still(others):
        cluster.add("e")
    run.said(r"rescale_requested at update \d+, reason there is room for 4 workers")
    run.said(r"resumed at update \d+, workers 4")

    run.ended()
    finding = is_the_same(project, "drained", undisturbed)
    assert finding.starts == (4, 2, 4)
    assert finding.done_again == 0, "nothing was lost"


@contextmanager
def standing_still(nodes: Sequence[Node]) -> Iterator[None]:
    """The workers of some nodes are paused within the block: the run would be done before it has ended."""
    with ExitStack() as paused:
        for node in nodes:
            if node.workers():
                paused.enter_context(node.paused())
        yield
