"""Programs in a sandbox: what they may do, and what they can't."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from longspan.errors import UserError
from longspan.evaluate.suites import sandbox
from longspan.evaluate.suites.sandbox import Limits, execute
from tests.evaluate.isolation import require_sandbox


@pytest.fixture
def isolated() -> None:
    require_sandbox()


LIMITS = Limits(seconds=1, memory_bytes=2**28, file_bytes=2**22, processes=8)


@pytest.mark.parametrize(
    ("program", "outcome", "detail"),
    [
        ("import json, math, collections\nassert math.gcd(4, 6) == 2", "passed", ""),
        ("open('mine', 'w').write('x')\nassert open('mine').read() == 'x'", "passed", ""),
        ("assert 1 + 1 == 3", "failed", "AssertionError"),
        ("def broken(:", "failed", "SyntaxError"),
        ("import sys\nsys.exit(0)", "failed", "SystemExit"),
        ("import os\nos._exit(0)", "killed", "exit status 0"),
        ("while True: pass", "timeout", ""),
        ("import time\ntime.sleep(60)", "timeout", ""),
        ("held = []\nwhile True: held.append(bytearray(10**7))", "failed", "MemoryError"),
        ("file = open('large', 'wb')\nwhile True: file.write(bytes(10**6))", "failed", "OSError"),
        ("import os\nwhile True: os.fork()", "failed", "BlockingIOError"),
        ("import os\nwhile True: os.write(3, b'x' * 10**6)", "killed", ""),
    ],
    ids=[
        *("computes", "own-file", "assertion", "syntax", "exit", "leaves-early", "loop", "sleep"),
        *("memory", "disk", "forks", "floods-the-report"),
    ],
)
def test_a_program_has_one_outcome(isolated, program, outcome, detail):
    found = execute(program, LIMITS)
    assert found.outcome == outcome
    assert found.detail.startswith(detail)
    assert found.is_passed == (outcome == "passed")


def test_a_program_reads_and_writes_no_file_of_the_machine(isolated, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("key")
    tmp_path.chmod(0o777)
    secret.chmod(0o666)
    program = f"""
import os
for path in ({str(secret)!r}, '/etc/passwd', '/proc/1/environ', '/dev/sda'):
    assert not os.path.exists(path), path
for path in ({str(tmp_path / "new")!r}, '/tmp/new', '/new', '/usr/new', '/python/new', '/dev/new'):
    try:
        open(path, 'w')
    except OSError:
        continue
    raise AssertionError(path)
"""
    assert execute(program, LIMITS) == sandbox.Execution("passed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret"]


def test_a_program_has_no_network_no_rights_and_no_environment(isolated, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "value")
    program = """
import os, socket
for address in (('127.0.0.1', 22), ('192.0.2.1', 80)):
    try:
        socket.create_connection(address, 1)
    except OSError as error:
        assert error.errno in (99, 101), error  # no such address, no route
    else:
        raise AssertionError(address)
assert set(os.environ) <= {'LC_CTYPE'}, dict(os.environ)
assert os.getppid() == 1
for forbidden in (lambda: os.chroot('/'), lambda: os.setuid(1000), lambda: os.nice(-5)):
    try:
        forbidden()
    except PermissionError:
        continue
    raise AssertionError
"""
    assert execute(program, LIMITS) == sandbox.Execution("passed")


def test_without_a_sandbox_nothing_is_run(monkeypatch):
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        assert "input" not in options, "a program was run"
        return subprocess.CompletedProcess(command, 1, b"", b"unshare: Operation not permitted\n")

    monkeypatch.setattr(sandbox.subprocess, "run", run)
    sandbox._command.cache_clear()
    with pytest.raises(UserError, match=r"allows no sandbox \(unshare: Operation not permitted\)"):
        execute("pass")
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"'unshare' .* is missing"):
        execute("pass")
    sandbox._command.cache_clear()


def test_a_sandbox_that_cannot_be_closed_runs_nothing(isolated, monkeypatch, tmp_path):
    missing = {"prefix": str(tmp_path / "nothing"), "program": str(tmp_path / "nothing/python")}
    monkeypatch.setattr(sandbox, "_interpreter", lambda: missing)
    with pytest.raises(UserError, match="this machine allows no sandbox"):
        execute("pass")
