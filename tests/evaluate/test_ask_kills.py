"""A process that is killed again and again: no recorded request is made twice, and the files are the same."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence, Set
from functools import partial
from pathlib import Path

import pytest

from longspan.evaluate.ask import PARTS, replies_folder
from longspan.evaluate.records import records_path
from longspan.generate.parts import read_parts
from longspan.storage import Store
from tests.evaluate.ask_driver import grid
from tests.evaluate.fake_models import FakeServer, last
from tests.instruct.project import until

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.real


def driver(store: Store, server: FakeServer) -> "subprocess.Popen[bytes]":
    arguments = ["-m", "tests.evaluate.ask_driver", store.root, server.url]
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT)


def recorded(store: Store) -> set[str]:
    """Identities of the samples whose replies are recorded."""
    rows = read_parts(store, replies_folder(grid().model), PARTS).to_pylist()
    return {row["sample"] for row in rows}


def killed_and_resumed(store: Store, kills: Sequence[int]) -> None:
    """Kill the process whenever the server has answered so many requests more; then let it end."""
    source = grid().source
    samples = {
        task.sample(source, length, index).text: task.sample_id(source, length, index)
        for task in grid().tasks
        for length in grid().lengths
        for index in range(grid().samples)
    }
    with FakeServer(last(200)) as server:
        for after in (*kills, None):
            before, asked = recorded(store), Counter(server.asked)
            process = driver(store, server)
            if after is None:
                server.on_answer = lambda answered: None
            else:
                stop = asked.total() + after
                server.on_answer = partial(kill_at, stop, process, store, before)
            assert process.wait(timeout=120) == (0 if after is None else -signal.SIGKILL)
            again = {samples[text] for text in Counter(server.asked) - asked}
            assert not again & before, "a recorded request was made again"
    assert recorded(store) == set(samples.values())


def kill_at(
    stop: int, process: "subprocess.Popen[bytes]", store: Store, before: Set[str], answered: int
) -> None:
    """Kill the process at one of its requests, once replies to others are recorded."""
    if answered == stop:
        until(lambda: recorded(store) > before, 60)
        process.kill()


def undisturbed(folder: Path) -> Store:
    store = Store(str(folder))
    with FakeServer(last(200)) as server:
        assert driver(store, server).wait(timeout=120) == 0
        assert set(server.asked.values()) == {1}
    return store


def test_after_kills_no_recorded_request_is_made_again_and_the_files_are_the_same(
    tmp_path: Path,
) -> None:
    store = Store(str(tmp_path / "killed"))
    killed_and_resumed(store, kills=(9, 7))
    expected = undisturbed(tmp_path / "undisturbed")
    for task in grid().tasks:
        path = records_path("e", task.name)
        assert store.read_bytes(path) == expected.read_bytes(path)
