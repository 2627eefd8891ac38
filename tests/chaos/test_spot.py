"""Nodes that come, and a spot instance that is taken back: the run grows, and leaves in time."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from longspan.history.check import Finding
from tests.chaos.run import UPDATES, Run, is_the_same
from tests.cluster.instance import Instance, serving
from tests.jobs.project import ROOT, Project
from tests.nodes import Cluster, Node, environment

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]


@contextmanager
def watched(cluster: Cluster, node: Node) -> Iterator[tuple[Instance, "subprocess.Popen[str]"]]:
    """The metadata service of a node's machine, and the watcher that asks it."""
    command = [sys.executable, "cluster/spot_watcher.py", f"--node-id={node.id}", "--every=0.5"]
    with serving() as instance:
        command += [f"--metadata={instance.address}"]
        watcher = subprocess.Popen(
            command, cwd=ROOT, env=environment(cluster), stdout=subprocess.PIPE, text=True
        )
        try:
            yield instance, watcher
        finally:
            watcher.kill()


def test_it_grows_when_a_node_comes_and_leaves_one_that_the_cloud_will_take_away(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    run = start("spot", "workers.grow_after_s=0")
    run.said(r"waiting: room for 0 of 1 workers of 1 CPU each")
    stays = cluster.add("a")
    run.said(r"started at update 0, workers 1")
    run.said(rf"update \d+/{UPDATES}")
    with stays.paused():  # It would be done before the other is there.
        spot = cluster.add("b")
    run.said(r"rescale_requested at update \d+, reason there is room for 2 workers")
    run.said(r"resumed at update \d+, workers 2")

    with watched(cluster, spot) as (instance, watcher):
        with stays.paused():
            assert watcher.poll() is None, "there is no notice yet"
            at = datetime.now(UTC) + timedelta(seconds=120)
            instance.notice = {"action": "terminate", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
            said, _ = watcher.communicate(timeout=60)
        assert watcher.returncode == 0
        assert "spot watcher: terminate in 1" in said
    run.said(r"rescale_requested at update \d+, reason 1 of its nodes will be taken away in \d+ s")
    run.said(r"resumed at update \d+, workers 1")
    # Ray itself ends a node that it drains as soon as nothing runs there, or at the deadline.
    run.ended()
    finding = is_the_same(project, "spot", undisturbed)
    assert finding.starts == (1, 2, 1)
    assert finding.done_again == 0, "nothing was lost"
