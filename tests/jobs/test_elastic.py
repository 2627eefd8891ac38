"""Workers and nodes that come, go, die and hang: the run ends with the model that it would have had."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest

from longspan.history.check import Finding, compare
from tests.jobs.cluster import Cluster, environment, until
from tests.jobs.project import ROOT, Project, said

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

UPDATES = 300
LONG = (f"training.tokens={512 * UPDATES}", "training.checkpoint_every=20", "heldout.every=300")
TOLERANCE = 1e-5
"""Relative, of losses: sums over other numbers of workers are in another order."""


class Run:
    """`python jobs/pretrain.py` on a cluster, its lines as they come."""

    def __init__(self, project: Project, cluster: Cluster, name: str, *overrides: str) -> None:
        self.name, self._project = name, project
        command = [sys.executable, "-u", "jobs/pretrain.py", str(project.recipe), f"name={name}"]
        self._process = subprocess.Popen(
            [*command, *LONG, *overrides],
            cwd=ROOT,
            env=environment(cluster),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def said(self, pattern: str, seconds: float = 120) -> re.Match[str]:
        """The first line of that pattern, once it is there."""

        def look() -> re.Match[str] | None:
            assert self._process.poll() is None or self._found(pattern), "".join(self.lines)[-4000:]
            return self._found(pattern)

        return until(look, seconds)

    def ended(self) -> str:
        """All that it said, once it has ended well."""
        code = self._process.wait(timeout=300)
        self._reader.join(timeout=10)
        text = "".join(self.lines)
        assert code == 0, text[-6000:]
        return text

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()

    def _found(self, pattern: str) -> re.Match[str] | None:
        return next((m for line in list(self.lines) if (m := re.search(pattern, line))), None)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)


@pytest.fixture(scope="module")
def undisturbed(project: Project, first_run: subprocess.CompletedProcess[str]) -> Finding:
    """The run with one worker that nothing happens to."""
    done = project.submit("name=undisturbed", *LONG)
    assert done.returncode == 0, said(done)[-4000:]
    return project.history("undisturbed")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def start(project: Project, cluster: Cluster) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(name: str, *overrides: str) -> Run:
        runs.append(Run(project, cluster, name, "workers={min: 1, max: 2}", *overrides))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def is_the_same(project: Project, name: str, undisturbed: Finding) -> Finding:
    """The run is one undisturbed run, and ends with the other's losses."""
    finding = project.history(name)
    assert finding.faults == ()
    assert finding.updates == UPDATES
    assert compare(finding, undisturbed) == []
    mine, other = (project.records(run, "update") for run in (name, "undisturbed"))
    losses = [record["loss"] for record in other]
    assert [record["loss"] for record in mine] == pytest.approx(losses, rel=TOLERANCE)
    mine, other = (project.records(run, "heldout")[-1] for run in (name, "undisturbed"))
    assert mine["loss"] == pytest.approx(other["loss"], rel=TOLERANCE)
    return finding


def test_it_grows_when_a_node_comes_and_leaves_one_that_will_be_taken_away(
    project: Project, undisturbed: Finding, cluster: Cluster, start: Callable[..., Run]
) -> None:
    cluster.add("a")
    run = start("elastic", "workers.grow_after=0")
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
