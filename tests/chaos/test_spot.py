"""A spot instance that is taken back: the cloud says so, the watcher tells Ray, the run leaves in time."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from longspan.history.check import Finding
from tests.chaos.cluster import Cluster, environment, until
from tests.chaos.run import Run, is_the_same
from tests.cluster.instance import serving
from tests.jobs.project import ROOT, Project

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_a_notice_of_the_cloud_makes_the_run_leave_the_node(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    _, spot = cluster.add("a"), cluster.add("b")
    command = [sys.executable, "cluster/spot_watcher.py", f"--node-id={spot.id}", "--every=0.5"]
    with serving() as instance:
        command += [f"--metadata={instance.address}"]
        watcher = subprocess.Popen(
            command, cwd=ROOT, env=environment(cluster), stdout=subprocess.PIPE, text=True
        )
        try:
            run = start("spot")
            run.said(r"checkpoint at update 40")
            assert watcher.poll() is None, "there is no notice yet"
            at = datetime.now(UTC) + timedelta(seconds=120)
            instance.notice = {"action": "terminate", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
            run.said(r"noticed at update \d+, reason 1 of its nodes will be taken away in \d+ s")
            said, _ = watcher.communicate(timeout=60)
        finally:
            watcher.kill()
    assert watcher.returncode == 0
    assert "spot watcher: terminate in 1" in said
    run.said(r"resumed at update \d+, workers 1")
    until(lambda: not spot.workers())
    assert spot.process.poll() is None, "it has left before the node was taken away"
    run.ended()
    finding = is_the_same(project, "spot", undisturbed)
    assert finding.starts == (2, 1)
    assert finding.done_again == 0, "nothing was lost"
