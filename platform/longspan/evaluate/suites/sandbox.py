"""Programs that a model wrote, each in a process that can reach neither files, network, nor other processes.

A program runs in Linux namespaces of its own (util-linux `unshare`): no network, no other processes, and a file system
that holds the Python interpreter and system libraries, read-only, and an empty folder in memory. It has no
capabilities, an empty environment, and limits on CPU time, memory, processes, and files. Where the machine does not
allow that, programs are refused.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from longspan.errors import UserError

CHILD = Path(__file__).with_name("sandbox_child.py")
START_S = 20.0
"""Wall-clock seconds for everything around the program, on a busy machine."""

Outcome = Literal["passed", "failed", "timeout", "killed"]


@dataclass(frozen=True)
class Limits:
    """Limits of one program.

    Attributes:
        seconds: of CPU time; wall-clock time may be twice as long.
        memory_bytes: address space of each process.
        file_bytes: of all files together.
        processes: with threads, of the program.
    """

    seconds: int = 10
    memory_bytes: int = 2**30
    file_bytes: int = 2**24
    processes: int = 16


@dataclass(frozen=True)
class Execution:
    """Outcome of a program.

    Attributes:
        outcome: passed: it ran to its end without an exception. failed: it raised one, or left early. timeout: it
            took too long. killed: it ended otherwise, such as by a limit.
        detail: name of the exception, or status; "" if it passed.
    """

    outcome: Outcome
    detail: str = ""

    @property
    def is_passed(self) -> bool:
        """Whether the program ran to its end without an exception."""
        return self.outcome == "passed"


def execute(program: str, limits: Limits | None = None) -> Execution:
    """Run a Python program in a sandbox.

    Args:
        program: source text.
        limits: of the process.

    Raises:
        UserError: this machine allows no sandbox.
    """
    limits = limits or Limits()
    command = _command()
    # The program cannot know it: one that leaves early does not pass.
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="longspan-sandbox-") as root:
        order = {
            "program": program,
            "token": token,
            "root": root,
            "limits": asdict(limits),
            "interpreter": _interpreter(),
        }
        try:
            done = subprocess.run(
                [*command, sys.executable, "-I", "-S", str(CHILD)],
                input=json.dumps(order).encode(),
                capture_output=True,
                env={},
                cwd="/",
                timeout=2 * limits.seconds + START_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Execution("timeout", f"{2 * limits.seconds + START_S:g} s")
    return _outcome(done, token)


def _outcome(done: subprocess.CompletedProcess[bytes], token: str) -> Execution:
    if done.returncode == SETUP_FAILED:
        raise UserError(_refusal(done.stderr.decode(errors="replace")))
    lines = [line for line in done.stdout.decode(errors="replace").splitlines() if line]
    try:
        report = json.loads(lines[-1]) if lines else {}
    except ValueError:
        report = {}
    if not isinstance(report, dict) or report.get("token") != token:
        return Execution("killed", f"exit status {done.returncode}")
    match report.get("outcome"):
        case "passed":
            return Execution("passed")
        case "timeout":
            return Execution("timeout", "CPU time")
        case _:
            return Execution("failed", str(report.get("detail", "")))


@cache
def _command() -> tuple[str, ...]:
    """Return the command that makes namespaces, as far as this machine allows it.

    Raises:
        UserError: it does not.
    """
    program = shutil.which("unshare")
    if program is None:
        raise UserError(
            "suites.allow_code_execution: the program 'unshare' (util-linux) is missing, without which nothing keeps "
            "generated programs from files and network; install it, or leave such tasks out"
        )
    options = ["--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
    if os.geteuid():
        options = ["--user", "--map-root-user", *options]
    command = (program, *options, "--")
    tried = subprocess.run([*command, "true"], capture_output=True, env={}, check=False)
    if tried.returncode:
        raise UserError(_refusal(tried.stderr.decode(errors="replace")))
    return command


def _refusal(reason: str) -> str:
    last = (reason.strip().splitlines() or ["no reason given"])[-1][:200]
    return (
        f"suites.allow_code_execution: this machine allows no sandbox ({last}); run such tasks as root or on a kernel "
        "with user namespaces, or leave them out"
    )


def _interpreter() -> dict[str, str]:
    """Folder and program of the Python that runs this, without an environment of packages."""
    return {"prefix": sys.base_prefix, "program": os.path.realpath(sys.executable)}


SETUP_FAILED = 97
"""Exit status of `sandbox_child.py` if it could not close the sandbox; the program did not run."""
