"""Engines on Ray whose driver is killed again and again, and they themselves once: nothing is lost or done twice."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from longspan.evaluate.ask import PARTS, replies_folder
from longspan.evaluate.records import records_path
from longspan.generate.parts import read_parts
from longspan.storage import Store
from tests.evaluate.engine_driver import BATCH, PART_ROWS, WINDOW, grid
from tests.instruct.project import until
from tests.tiny import make_tiny_model

ROOT = Path(__file__).parents[2]
START_S = 240
"""An engine starts in less."""

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Evaluation:
    """One store, and the drivers that write to it."""

    folder: Path
    model: Path
    address: str

    @property
    def store(self) -> Store:
        return Store(str(self.folder / "store"))

    @property
    def recorded(self) -> set[str]:
        """Identities of the samples whose replies are recorded."""
        rows = read_parts(self.store, replies_folder(grid().model), PARTS).to_pylist()
        return {row["sample"] for row in rows}

    @property
    def delivered(self) -> Counter[str]:
        """How often the engines answered each sample, as far as a driver came to know."""
        path = self.folder / "delivered"
        return Counter(path.read_text().splitlines() if path.is_file() else ())

    def driver(self) -> "subprocess.Popen[str]":
        arguments = [str(self.folder / "store"), str(self.model), str(self.folder / "delivered")]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.evaluate.engine_driver", *arguments],
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": self.address},
            stdout=subprocess.PIPE,
            text=True,
        )

    def files(self) -> dict[str, bytes]:
        """Records of all tasks."""
        paths = [records_path("e", task.name) for task in grid().tasks]
        return {path: self.store.read_bytes(path) for path in paths}


def engines() -> list[psutil.Process]:
    """Processes of vLLM that this session's Ray has started, orphans too."""
    ours = {
        str(process.pid)
        for process in psutil.Process().children(recursive=True)
        if process.name() == "raylet"
    }
    return [process for process in psutil.process_iter() if ours & set(_raylet_of(process))]


def _raylet_of(process: psutil.Process) -> Iterator[str]:
    try:
        if "VLLM::" in " ".join(process.cmdline()):
            yield process.environ().get("RAY_RAYLET_PID", "")
    except psutil.Error:
        return


def requests_of(log: str) -> int:
    """The number of requests that a driver said it makes."""
    line = next(line for line in log.splitlines() if " requests; " in line)
    return int(line.split()[1].replace(",", ""))


def test_killed_drivers_and_engines_lose_and_repeat_no_more_than_a_batch(
    tmp_path: Path, ray_session: str
) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    model = make_tiny_model(tmp_path / "model", window=WINDOW)
    total = len(grid().sample_keys())
    for name in ("killed", "undisturbed"):
        (tmp_path / name).mkdir()
    killed = Evaluation(tmp_path / "killed", model, address)

    for _ in range(2):
        before = killed.recorded
        driver = killed.driver()
        until(lambda before=before: len(killed.recorded) >= len(before) + 2 * BATCH, START_S)
        driver.kill()
        log, _ = driver.communicate(timeout=60)
        assert driver.returncode == -signal.SIGKILL
        assert requests_of(log) == total - len(before)
        # What came out of the engine is recorded, but for the batch that came last.
        assert len(killed.delivered.keys() - killed.recorded) <= max(BATCH, PART_ROWS)
        until(lambda: not engines(), 60)

    before = killed.recorded
    assert len(before) < total, "the kills came too late"
    driver = killed.driver()
    until(lambda: len(killed.recorded) > len(before), START_S)
    for process in engines():
        process.kill()
    log, _ = driver.communicate(timeout=START_S)
    assert driver.returncode == 0, log
    assert requests_of(log) == total - len(before)

    assert len(killed.recorded) == len(killed.delivered) == total
    repeated = sum(count - 1 for count in killed.delivered.values())
    assert repeated <= 2 * max(BATCH, PART_ROWS), "at most a batch for each kill of the driver"
    undisturbed = Evaluation(tmp_path / "undisturbed", model, address)
    driver = undisturbed.driver()
    log, _ = driver.communicate(timeout=START_S)
    assert driver.returncode == 0, log
    assert undisturbed.files() == killed.files()
    until(lambda: not engines(), 60)
