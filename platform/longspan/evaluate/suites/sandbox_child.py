"""First process in a sandbox's namespaces: closes the file system, drops all rights, and runs one program.

A script without imports from this package: `sandbox.execute` starts it by its path. It reads an order (JSON) from
standard input, and writes a report, a line of JSON, to standard output.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

SETUP_FAILED = 97
NOBODY = 65534
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    32,
    4096,
    16384,
    1 << 18,
)
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 38, 24
LAST_CAPABILITY = 63
REPORT_BYTES = 4096
SYSTEM = ("usr", "lib", "lib32", "lib64", "bin")
"""Folders of the root that system libraries are in."""

RUNNER = """
import json, os, signal, sys
report = os.fdopen(os.dup(1), "w")
order = json.loads(sys.stdin.readline())
null = os.open("/dev/null", os.O_RDWR)
for number in (0, 1, 2):
    os.dup2(null, number)

def tell(outcome, detail=""):
    report.write(json.dumps({"token": order["token"], "outcome": outcome, "detail": detail}) + "\\n")
    report.flush()
    os._exit(0)

main = os.getpid()
signal.signal(signal.SIGXCPU, lambda *_: tell("timeout") if os.getpid() == main else os._exit(1))
try:
    exec(compile(order["program"], "program.py", "exec"), {"__name__": "__main__"})
except BaseException as error:
    tell("failed", type(error).__name__)
tell("passed")
"""


def main() -> int:
    """Run the order on standard input; returns the exit status."""
    order = json.load(sys.stdin)
    try:
        python = close(Path(order["root"]), order["interpreter"], order["limits"])
        drop_rights()
    except OSError as error:
        print(f"{error.filename or ''} {error.strerror}", file=sys.stderr)
        return SETUP_FAILED
    return run(python, order)


def close(root: Path, interpreter: dict[str, str], limits: dict[str, int]) -> str:
    """Make a file system of system libraries and an interpreter the only one; returns the path of Python in it."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    # It holds the program's files as well, hence its size.
    options = f"size={limits['file_bytes']},mode=755"
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, options)
    for name in SYSTEM:
        source = Path("/", name)
        if source.is_symlink():
            (root / name).symlink_to(os.readlink(source))
        elif source.is_dir():
            bind(source, root / name)
    prefix = Path(interpreter["prefix"])
    bind(prefix, root / "python")
    (root / "dev").mkdir()
    (root / "dev/null").touch()
    mount("/dev/null", root / "dev/null", None, MS_BIND)
    (root / "work").mkdir(mode=0o777)
    (root / "work").chmod(0o777)
    os.chroot(root)
    os.chdir("/work")
    return str(Path("/python", Path(interpreter["program"]).relative_to(prefix)))


def drop_rights() -> None:
    """Become nobody, or at least lose all capabilities with the next program that is executed."""
    for capability in range(LAST_CAPABILITY + 1):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) and ctypes.get_errno() != 22:
            failed("capabilities")
    if is_root_outside():
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        failed("no_new_privs")


def is_root_outside() -> bool:
    """Whether this is not a user's namespace of one id, in which nobody is not known."""
    try:
        os.setgroups([])
    except PermissionError:
        return False
    return True


def run(python: str, order: dict[str, Any]) -> int:
    """Run the program, and pass on its report, of which a program that writes too much has none."""
    limits = order["limits"]
    given = json.dumps({key: order[key] for key in ("program", "token")}) + "\n"
    # In memory, and no longer than the program's files may be.
    with os.fdopen(os.memfd_create("report"), "r+b") as report:
        process = subprocess.Popen(
            [python, "-I", "-S", "-c", RUNNER],
            stdin=subprocess.PIPE,
            stdout=report,
            stderr=subprocess.DEVNULL,
            env={},
            preexec_fn=lambda: limit(limits),
        )
        try:
            process.communicate(given.encode(), timeout=2 * limits["seconds"])
        except subprocess.TimeoutExpired:
            print(json.dumps({"token": order["token"], "outcome": "timeout"}), flush=True)
            # The end of this process, the first of its namespace, ends all others in it.
            return 1
        sys.stdout.buffer.write(os.pread(report.fileno(), REPORT_BYTES, 0))
    return process.returncode


def limit(limits: dict[str, int]) -> None:
    """Set the limits of the program's process."""
    seconds, memory, files = limits["seconds"], limits["memory_bytes"], limits["file_bytes"]
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, seconds, seconds + 2),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, files, files),
        (resource.RLIMIT_NPROC, limits["processes"], limits["processes"]),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(kind, (soft, hard))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)


def bind(source: Path, target: Path) -> None:
    """Show a folder at another place, read-only."""
    target.mkdir()
    mount(source, target, None, MS_BIND | MS_REC)
    mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


libc = ctypes.CDLL(None, use_errno=True)


def mount(
    source: str | Path | None,
    target: str | Path,
    kind: str | None,
    flags: int,
    data: str | None = None,
) -> None:
    """Mount a file system, or another part of one, as the system call does."""
    arguments = (None if value is None else os.fsencode(value) for value in (source, target, kind))
    if libc.mount(*arguments, ctypes.c_ulong(flags), None if data is None else data.encode()):
        failed(f"mount {target}")


def failed(name: str) -> None:
    """Raise the error of the last call of the C library."""
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), name)


if __name__ == "__main__":
    sys.exit(main())
