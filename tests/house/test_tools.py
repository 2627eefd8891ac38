import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tools import processes
from tools.places import Trouble, choose_port, short_path


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_passed_over(listener, monkeypatch):
    monkeypatch.delenv("SOME_PORT", raising=False)
    taken: set[int] = set()
    first = choose_port(listener, "SOME_PORT", taken)
    assert first > listener
    assert choose_port(listener, "SOME_PORT", taken) > first


def test_a_port_that_is_asked_for_is_given_or_refused(listener, monkeypatch):
    monkeypatch.setenv("SOME_PORT", str(listener))
    with pytest.raises(Trouble, match=f"SOME_PORT={listener} is taken"):
        choose_port(1, "SOME_PORT", set())


def test_a_folder_with_a_long_path_is_reached_by_a_short_one(tmp_path, monkeypatch):
    short = tmp_path / "t"
    short.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(short))
    folder = tmp_path / ("long" * 30)
    path = short_path(folder, 100)
    assert len(str(path)) <= 100
    (path / "file").write_text("there")
    assert (folder / "file").read_text() == "there"
    assert short_path(folder, 100) == path
    assert path.parent.stat().st_mode & 0o077 == 0
    assert short_path(short, 100) == short


def test_a_link_folder_that_others_can_enter_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"longspan-{os.getuid()}").mkdir(mode=0o755)
    with pytest.raises(Trouble, match="not a folder of yours alone"):
        short_path(tmp_path / ("long" * 40), 100)


def spawn(root: Path) -> subprocess.Popen[bytes]:
    """A marked process with a child that outlives it, as soon as the child is there."""
    child = "import time; print(1, flush=True); time.sleep(99)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    name, value = processes.mark(root, "ray")
    process = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, name: value}, stdout=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    return process


def test_only_marked_processes_are_ended_orphans_included(tmp_path):
    ours, others = spawn(tmp_path / "a"), spawn(tmp_path / "b")
    try:
        ours.kill()
        ours.wait()
        orphans = processes.marked(tmp_path / "a", "ray")
        assert len(orphans) == 1
        assert processes.end(tmp_path / "a", "ray") == 1
        assert processes.marked(tmp_path / "a", "ray") == []
        assert len(processes.marked(tmp_path / "b", "ray")) == 2
    finally:
        processes.end(tmp_path / "b", "ray")
        others.wait()
