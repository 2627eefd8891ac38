"""Objects in the file system."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from pyarrow import fs

from longspan.errors import UserError
from longspan.storage.local import LocalCopy
from longspan.storage.objects import Access, ObjectInfo

TEMPORARY = re.compile(r"\.longspan-[0-9a-f]{32}\.tmp")
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Folder:
    """Keys are absolute paths; an object is a file.

    Args:
        private: a folder that only its owner may enter when it is made here; one that exists stays as it is.
    """

    def __init__(self, private: str | None = None) -> None:
        self.filesystem = fs.LocalFileSystem()
        self._private = private

    def uri(self, key: str) -> str:
        """The path itself."""
        return key

    def filesystem_path(self, key: str) -> str:
        """The path itself."""
        return key

    def walk(self, prefix: str, depth: int | None = None) -> Iterator[ObjectInfo]:
        """See `Backend.walk`."""
        folder, start = prefix.rsplit("/", 1)
        try:
            yield from _walk(folder + "/", start, depth, ())
        except OSError as error:
            raise self.explain(error, "list", folder or "/") from error

    def exists(self, key: str) -> bool:
        """See `Backend.exists`."""
        return os.path.isfile(key) or any(True for _ in self.walk(key.rstrip("/") + "/"))

    def fetch(self, key: str, file: BinaryIO, version: str | None) -> bool:
        """See `Backend.fetch`; the file system answers for its files."""
        with self.local(key, version), self._opened(key) as source:
            shutil.copyfileobj(source, file)
        return True

    def local(self, key: str, version: str | None) -> LocalCopy:
        """See `Backend.local`; that the file stays as it is is checked again at the end."""

        def check() -> None:
            try:
                found = _version(os.stat(key))
            except OSError as error:
                raise self.explain(error, "read", key) from error
            if version is not None and found != version:
                raise UserError(f"{key} changed while it was being read: submit the job again")

        check()
        return LocalCopy(key, verified=True, close=check)

    def write(self, key: str, data: bytes | memoryview) -> None:
        """See `Backend.write`."""
        with self.replacing(key) as temporary, open(temporary, "xb") as file:
            file.write(data)
            _to_disk(file.fileno())

    def write_new(self, key: str, data: bytes | memoryview) -> bool:
        """See `Backend.write_new`; the name is taken first, since not all file systems have hard links."""
        try:
            os.makedirs(os.path.dirname(key), exist_ok=True)
            with open(key, "xb"):
                pass
        except FileExistsError:
            return False
        except OSError as error:
            raise self.explain(error, "write", key) from error
        self.write(key, data)
        return True

    def write_file(self, key: str, local: str) -> None:
        """See `Backend.write_file`."""
        with self.replacing(key) as temporary:
            shutil.copyfile(local, temporary)
            with open(temporary, "rb") as file:
                _to_disk(file.fileno())

    def delete(self, key: str) -> None:
        """See `Backend.delete`."""
        try:
            if os.path.isdir(key) and not os.path.islink(key):
                shutil.rmtree(key)
            else:
                os.unlink(key)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self.explain(error, "delete", key) from error

    def denied(self, access: Access, key: str) -> list[str]:
        """See `Backend.denied`; writing makes the folder."""
        try:
            if access == "list":
                next(self.walk(key, 1), None)
            elif access == "read":
                with suppress(FileNotFoundError), open(key, "rb"):
                    pass
            else:
                self._try_to_write(key)
        except UserError as error:
            return [str(error)]
        except OSError as error:
            wanted = "a file that can be read"
            if access in ("add", "write"):
                wanted = "a folder that can be listed and written"
            return [f"{key} must be {wanted}: {error.strerror or error}"]
        return []

    def _opened(self, key: str) -> BinaryIO:
        try:
            return open(key, "rb")
        except OSError as error:
            raise self.explain(error, "read", key) from error

    def _try_to_write(self, key: str) -> None:
        probe = os.path.join(key, f".longspan-{uuid.uuid4().hex}.tmp")
        try:
            self._make_folder(key)
            next(os.scandir(key), None)
            with open(probe, "xb") as file:
                file.write(b"writable?")
        finally:
            with suppress(OSError):
                os.unlink(probe)

    def _make_folder(self, folder: str) -> None:
        """Make a folder and those above it that are missing."""
        private = self._private
        if private and f"{folder}/".startswith(f"{private}/") and not os.path.isdir(private):
            os.makedirs(os.path.dirname(private), exist_ok=True)
            with suppress(FileExistsError):
                os.mkdir(private, mode=0o700)
        os.makedirs(folder, exist_ok=True)

    def explain(self, error: Exception, doing: str, key: str) -> Exception:
        """See `Backend.explain`."""
        if isinstance(error, FileNotFoundError) and doing == "read":
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key)
        reason = getattr(error, "strerror", None) or str(error)
        hint = ""
        if getattr(error, "errno", None) in FULL:
            hint = "; make room, then run the same command again: nothing was left half-written"
        return UserError(f"cannot {doing} {key}: {reason}{hint}")

    @contextmanager
    def replacing(self, key: str) -> Iterator[str]:
        """A temporary path in the same folder, renamed to the key when all went well."""
        folder = os.path.dirname(key)
        temporary = os.path.join(folder, f".longspan-{uuid.uuid4().hex}.tmp")
        try:
            self._make_folder(folder)
            yield temporary
            os.replace(temporary, key)
        except OSError as error:
            raise self.explain(error, "write", key) from error
        finally:
            with suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(temporary)


def _version(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns}-{status.st_size}"


def _to_disk(descriptor: int) -> None:
    """Without this, a crash of the machine can leave an empty file under the final name."""
    os.fsync(descriptor)


def _walk(
    folder: str, start: str, depth: int | None, above: tuple[tuple[int, int], ...]
) -> Iterator[ObjectInfo]:
    """Files below a folder whose first component starts with `start`; links are followed."""
    try:
        status = os.stat(folder)
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # A link back to a folder we are in.
        return
    for entry in entries:
        if not entry.name.startswith(start) or TEMPORARY.fullmatch(entry.name):
            continue
        # A file may be gone by now (another process cleaning up), or be a link to nothing or to itself.
        try:
            is_folder, status = entry.is_dir(), entry.stat()
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                continue
            raise
        if not is_folder:
            yield ObjectInfo(entry.path, status.st_size, _version(status))
        elif depth is None or depth > 1:
            below = None if depth is None else depth - 1
            yield from _walk(entry.path + "/", "", below, (*above, identity))
