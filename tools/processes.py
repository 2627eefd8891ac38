"""The processes that a checkout started, found by a mark in their environment and ended by pid.

`ray stop` ends every Ray on the machine. A mark that all descendants inherit, also those whose
parent died, tells ours from anybody else's.
"""

import os
import signal
import time
from pathlib import Path


def mark(root: Path, what: str) -> tuple[str, str]:
    """The environment variable, name and value, that marks what this checkout starts."""
    return f"LONGSPAN_{what.upper()}_OF", str(root)


def marked(root: Path, what: str) -> list[int]:
    """The pids of the living processes that carry the mark, this process and its parents aside."""
    wanted = "=".join(mark(root, what)).encode()
    spared = _ancestors(os.getpid())
    return [
        pid
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        if pid not in spared and wanted in _environment(pid) and _state(pid) != "Z"
    ]


def end(root: Path, what: str, patience: float = 5.0) -> int:
    """Asks the marked processes to end, then ends them; returns how many there were."""
    first = marked(root, what)
    _signal(first, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while (alive := marked(root, what)) and time.monotonic() < deadline:
        time.sleep(0.2)
    _signal(alive, signal.SIGKILL)
    return len(first)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return []


def _stat(pid: int) -> list[str]:
    """State, parent, ... of a process: what follows its name, which may itself hold blanks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _state(pid: int) -> str:
    return (_stat(pid) or ["Z"])[0]


def _ancestors(pid: int) -> set[int]:
    found = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        pid = int((_stat(pid) or ["", "0"])[1])
    return found
