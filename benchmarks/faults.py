"""What happens to the runs that goodput.py measures: faults at fixed times after the first update."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.counted import counted
from tests.nodes import Cluster, environment

LOOK_SECONDS = 0.2


class Running:
    """A driver on a cluster, and the file in which its updates are counted."""

    def __init__(self, command: list[str], cluster: Cluster, counter: Path, log: Path) -> None:
        self.counter, self._log = counter, log
        with log.open("w") as output:
            self._process = subprocess.Popen(
                command, env=environment(cluster), stdout=output, stderr=subprocess.STDOUT
            )

    def wait_until(self, moment: float) -> bool:
        """Wait for a time of the day; False if it ended before."""
        while time.time() < moment:
            if self._process.poll() is not None:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def first_update(self) -> float:
        """When it was done; waits for it."""
        while self.wait_until(time.time() + LOOK_SECONDS):
            for record in counted(self.counter):
                if record["kind"] == "update":
                    return record["time"]
        raise SystemExit(f"no update was done:\n{self._log.read_text()[-4000:]}")

    def ended(self) -> None:
        """Wait for its end, which has to be a good one."""
        if self._process.wait():
            raise SystemExit(f"a run failed:\n{self._log.read_text()[-4000:]}")

    def close(self) -> None:
        """End it, if it is still there."""
        if self._process.poll() is None:
            self._process.kill()


@dataclass
class Schedule:
    """When what happens.

    Attributes:
        every: seconds from one fault to the next; the first one comes so long after the first update.
        deadline: seconds from a notice to the end of the node.
        away: seconds from the end of a node to a new one in its place.
        log: takes lines to read.
        faults: when they were.
    """

    every: float
    deadline: int
    away: float
    log: Callable[[str], None]
    faults: list[float] = field(default_factory=list)

    def nothing(self, cluster: Cluster, run: Running) -> None:
        """No fault."""

    def kills(self, cluster: Cluster, run: Running) -> None:
        """A worker gets SIGKILL, on each node by turns."""
        began = run.first_update()
        for number in itertools.count(1):
            node = cluster.nodes[number % len(cluster.nodes)]
            if not run.wait_until(began + number * self.every):
                return
            while not (workers := node.workers()):  # The group is still starting.
                if not run.wait_until(time.time() + LOOK_SECONDS):
                    return
            workers[0].send_signal(signal.SIGKILL)
            self._note(f"killed worker process {workers[0].pid}")

    def notices(self, cluster: Cluster, run: Running) -> None:
        """The oldest node gets Ray's drain notice, is gone at the deadline, and is replaced."""
        began = run.first_update()
        for number in itertools.count(1):
            node = cluster.nodes[0]
            if not run.wait_until(began + number * self.every):
                return
            cluster.drain(node, self.deadline)
            noticed = self._note(f"node {node.name} will be gone in {self.deadline} s")
            if not run.wait_until(noticed + self.deadline):
                return
            if node.process.poll() is None and psutil.pid_exists(node.process.pid):
                node.kill()
            cluster.nodes.remove(node)
            if not run.wait_until(noticed + self.deadline + self.away):
                return
            cluster.add(f"new{number}")

    def _note(self, line: str) -> float:
        self.faults.append(time.time())
        self.log(line)
        return self.faults[-1]
