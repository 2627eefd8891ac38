"""Local copies of models that a store holds: one for each content, the least recently used are deleted.

    <cache>/<hash of address, names, sizes and versions>/    a copy; its time of change is that of its last use
    <cache>/.partial-<hash>-.../                              one that is being fetched
    <cache>/.locks/                                           held while a copy is fetched, found or deleted

Locks are the kernel's (flock), so that a killed process leaves none; any number of processes of a node may
use one cache.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from longspan.errors import UserError

KEEP = "LONGSPAN_MODEL_CACHE_KEEP"
"""Environment variable: how many copies stay, the most recently used ones."""
NUM_KEPT = 8
IN_USE_S = 24 * 3600.0
"""Copies that were asked for so recently stay, whatever their number: somebody may be reading them."""
LOADING_S = 3600.0
"""Seconds for which a used copy stays where there is no room for another one."""
PARTIAL = ".partial-"


def model_cache_folder() -> Path:
    """Return the folder of this node's model cache: below XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longspan" / "models"


@dataclass(frozen=True)
class ModelCache:
    """Copies in one folder.

    Attributes:
        folder: made when something is fetched.
    """

    folder: Path

    def get(self, key: str, num_bytes: int, address: str, download: Callable[[Path], None]) -> Path:
        """Return the copy with this key, made by ``download`` if it is not there.

        Processes that ask for the same copy at a time wait for one download.

        Args:
            key: names the content.
            num_bytes: size of the copy.
            address: of the model, for messages.
            download: fills the folder it is given.

        Raises:
            UserError: there is no room for it, or the folder cannot be locked; or ``download``'s.
        """
        copy = self.folder / key
        if copy.is_dir() and not os.access(self.folder, os.W_OK):
            return copy  # Part of an image: nobody deletes anything here.
        (self.folder / ".locks").mkdir(parents=True, exist_ok=True)
        if self._find(copy):
            return copy
        with self._locked(key):
            if self._find(copy):
                return copy
            self._make_room(key, num_bytes, address)
            partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{key}-", dir=self.folder))
            try:
                download(partial)
                os.replace(partial, copy)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return copy

    def _find(self, copy: Path) -> bool:
        """Return whether the copy is there; from now on it counts as used."""
        with self._locked():
            try:
                os.utime(copy)
            except FileNotFoundError:
                return False
            return True

    def _make_room(self, key: str, num_bytes: int, address: str) -> None:
        """Delete what nobody needs, and more where that is not enough.

        Raises:
            UserError: there is no room for so many bytes all the same.
        """
        self._delete_leftovers(key)
        with self._locked():
            for copy in self._unused(IN_USE_S)[max(num_kept() - 1 - self._num_used(IN_USE_S), 0) :]:
                _delete(copy)
            for copy in reversed(self._unused(LOADING_S)):
                if shutil.disk_usage(self.folder).free >= num_bytes:
                    break
                _delete(copy)
        require_free(num_bytes, self.folder, address, "XDG_CACHE_HOME")

    def _delete_leftovers(self, own_key: str) -> None:
        """Delete what killed processes left: parts of copies that nobody is fetching.

        The lock of ``own_key`` is held already, and its download has not begun.
        """
        for partial in self.folder.glob(f"{PARTIAL}*"):
            key = partial.name.removeprefix(PARTIAL).rpartition("-")[0]
            if key == own_key:
                shutil.rmtree(partial, ignore_errors=True)
            elif key:
                with suppress(BlockingIOError), self._locked(key, wait=False):
                    shutil.rmtree(partial, ignore_errors=True)

    def _copies(self) -> list[tuple[float, Path]]:
        """Return time of last use and folder of all copies, the most recently used first."""
        found = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        return sorted(((path.stat().st_mtime, path) for path in found), reverse=True)

    def _unused(self, seconds: float) -> list[Path]:
        """Return copies that were not asked for in the last seconds, the most recently used first."""
        since = time.time() - seconds
        return [path for used, path in self._copies() if used < since]

    def _num_used(self, seconds: float) -> int:
        return len(self._copies()) - len(self._unused(seconds))

    @contextmanager
    def _locked(self, key: str = "all", wait: bool = True) -> Iterator[None]:
        """Hold the lock of a copy's download, or the one that finding and deleting copies takes.

        Raises:
            BlockingIOError: somebody holds it, and ``wait`` is off.
            UserError: the file system has no locks.
        """
        with (self.folder / ".locks" / key).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise
            except OSError as error:
                raise UserError(
                    f"base_model: cannot lock files in {self.folder} ({error.strerror}); set XDG_CACHE_HOME to "
                    "a folder on a local disk"
                ) from None
            yield


def num_kept() -> int:
    """Return how many copies a cache keeps.

    Raises:
        UserError: the environment names no number of at least 1.
    """
    value = os.environ.get(KEEP, str(NUM_KEPT))
    if not value.isdigit() or int(value) < 1:
        raise UserError(f"{KEEP}: must be a number of at least 1, but is {value!r}")
    return int(value)


def require_free(needed: int, folder: Path, what: str, variable: str) -> None:
    """Refuse a download that a disk has no room for.

    Args:
        needed: bytes.
        folder: where to; it need not exist.
        what: the model's address, for the message.
        variable: environment variable that moves the folder.

    Raises:
        UserError: fewer bytes are free.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise UserError(
            f"base_model: fetching {what} takes {needed:,} bytes, and the disk of {folder} has {free:,} free; "
            f"delete something there, or set {variable} to a folder on a larger disk"
        )


def _delete(folder: Path) -> None:
    # Under another name first: half a copy is never taken for one.
    doomed = tempfile.mkdtemp(prefix=f"{PARTIAL}deleted-", dir=folder.parent)
    os.replace(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)
