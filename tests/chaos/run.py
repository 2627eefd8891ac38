"""A job on a cluster that things happen to, and what it must come to."""

import re
import subprocess
import sys
import threading

import pytest

from longspan.history.check import Finding, compare
from tests.jobs.project import ROOT, Project
from tests.nodes import Cluster, environment, until

UPDATES = 200
STORY_UPDATES = 80
"""Of the story in the first tier, whose nodes are there from the start: its last event is at the second checkpoint."""
TOLERANCE = 1e-5
"""Relative, of losses: sums over other numbers of workers are in another order."""


def of_length(updates: int) -> tuple[str, ...]:
    """Overrides of a recipe, for a run of so many updates."""
    tokens = f"training.tokens={512 * updates}"
    return tokens, "training.checkpoint_every=20", f"heldout.every={updates}"


def undisturbed_name(updates: int) -> str:
    """Name of the run of so many updates that nothing happens to."""
    return f"undisturbed-{updates}"


class Job:
    """A process that runs a job, its lines as they come."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.lines: list[str] = []
        self._heard = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def said(self, pattern: str, seconds: float = 240) -> re.Match[str]:
        """The next line of that pattern, after the last one that was asked for, once it is there."""

        def look() -> re.Match[str] | None:
            runs = self._process.poll() is None
            found = self._next(pattern)
            assert runs or found, "it has ended"
            return found

        try:
            return until(look, seconds)
        except AssertionError as error:
            said = "".join(self.lines)[-4000:]
            raise AssertionError(f"{pattern} was not said ({error}): {said}") from None

    def ended(self, status: int = 0) -> str:
        """All that it said, once it has ended with that status; 0 is well."""
        code = self.wait()
        self._reader.join(timeout=10)
        text = "".join(self.lines)
        assert code == status, text[-6000:]
        return text

    def wait(self) -> int:
        """Its status, once it has ended."""
        try:
            return self._process.wait(timeout=300)
        except subprocess.TimeoutExpired:
            raise AssertionError("still runs: " + "".join(self.lines)[-6000:]) from None

    def kill(self) -> None:
        """End the driver, which leaves it no time for anything."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()

    def _next(self, pattern: str) -> re.Match[str] | None:
        for number in range(self._heard, len(self.lines)):
            if found := re.search(pattern, self.lines[number]):
                self._heard = number + 1
                return found
        return None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)


class Run(Job):
    """`python jobs/pretrain.py` on a cluster."""

    def __init__(self, project: Project, cluster: Cluster, name: str, *overrides: str) -> None:
        command = [sys.executable, "-u", "jobs/pretrain.py", str(project.recipe), f"name={name}"]
        process = subprocess.Popen(
            [*command, *of_length(UPDATES), *overrides],
            cwd=ROOT,
            env=environment(cluster),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        super().__init__(process)


def is_the_same(project: Project, name: str, undisturbed: Finding) -> Finding:
    """The run is one undisturbed run, and ends with the other's losses."""
    finding = project.history(name)
    assert finding.faults == ()
    assert finding.updates == undisturbed.updates
    assert compare(finding, undisturbed) == []
    runs = name, undisturbed_name(undisturbed.updates)
    mine, other = (project.records(run, "update") for run in runs)
    losses = [record["loss"] for record in other]
    assert [record["loss"] for record in mine] == pytest.approx(losses, rel=TOLERANCE)
    mine, other = (project.records(run, "heldout")[-1] for run in runs)
    assert mine["loss"] == pytest.approx(other["loss"], rel=TOLERANCE)
    return finding
