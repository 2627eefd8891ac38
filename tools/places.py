"""Ports and folders that servers on this machine can use."""

import hashlib
import os
import socket
import tempfile
from pathlib import Path

SOCKET_PATH_LIMIT = 107  # of a Unix socket, in bytes, on Linux


class Trouble(Exception):
    """What went wrong and what to do about it, for a person."""


def is_free(port: int) -> bool:
    """Whether nothing listens on the port, on any address of this machine that loopback reaches."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(default: int, variable: str, taken: set[int]) -> int:
    """The port named by the environment variable, or the first free one from `default` on.

    Args:
        default: where the search starts.
        variable: the environment (and make) variable that names one port, and no other.
        taken: ports given out already; the one chosen is added.

    Raises:
        Trouble: the port asked for is taken, or a hundred ports in a row are.
    """
    asked = os.environ.get(variable, "")
    if asked and not asked.isdigit():
        raise Trouble(f"{variable}={asked} is not a port")
    candidates = [int(asked)] if asked else range(default, default + 100)
    for port in candidates:
        if port not in taken and is_free(port):
            taken.add(port)
            return port
    if asked:
        raise Trouble(f"{variable}={asked} is taken by another program: name another port, or none")
    raise Trouble(f"no free port from {default} to {default + 99}: name one with {variable}=...")


def private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for this user alone; one that exists stays as it is."""
    for folder in (*reversed(path.parents), path):
        folder.mkdir(mode=0o700, exist_ok=True)


def short_path(folder: Path, longest: int) -> Path:
    """A path to `folder` of at most `longest` bytes: itself, or a link in the temporary folder.

    Unix sockets are limited by the path they are opened by, not by where it leads: the files stay
    in `folder` either way. The link lies in a folder that only its owner can enter.

    Raises:
        Trouble: somebody else owns that folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if len(os.fsencode(folder)) <= longest:
        return folder
    home = Path(tempfile.gettempdir()) / f"longspan-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    facts = home.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o077 or home.is_symlink():
        raise Trouble(f"{home} is not a folder of yours alone: remove it, or set TMPDIR")
    link = home / hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
    if not (link.is_symlink() and Path(os.readlink(link)) == folder):
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
    return link
