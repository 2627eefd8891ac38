"""A store: objects below one root, which is a folder or s3://bucket/prefix."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from fnmatch import fnmatch
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from longspan.addresses import http_refusal, may_send_credentials
from longspan.errors import UserError
from longspan.storage.folder import Folder
from longspan.storage.local import LocalCopy
from longspan.storage.objects import Access, Backend, ObjectInfo, is_transport, retried
from longspan.storage.paths import is_relative, require_inside
from longspan.storage.patterns import Glob, is_glob

S3 = "s3://"
THREADS = 8


class Store:
    """Reads, writes and lists objects the same way in a folder and on S3.

    A path given to a method is relative to the root ("corpora/x.parquet"), or absolute ("/a/b"), or
    an address ("s3://bucket/key"). A store travels to other processes as its three arguments.

    All methods raise a UserError when credentials, permissions, the disk or the network stop them, or
    a relative path or address has a component "..", and FileNotFoundError for an object that is not there.

    Args:
        root: a folder, or s3://bucket/prefix.
        endpoint: URL of an S3 server other than AWS; AWS_ENDPOINT_URL when this is None.
        region: the bucket's region; AWS_REGION or AWS_DEFAULT_REGION when this is None.

    Raises:
        UserError: root or endpoint is not of that form, or holds credentials; or credentials would be
            sent to the endpoint in clear.
    """

    def __init__(
        self, root: str, *, endpoint: str | None = None, region: str | None = None
    ) -> None:
        if root.startswith(S3):
            _bucket_and_key(root)
        else:
            if "://" in root:
                scheme = root.split("://")[0]
                raise UserError(f"storage.root: {scheme}:// is not known; give a folder or s3://")
            root = os.path.abspath(os.path.expanduser(root))
        self.root = root.rstrip("/") or "/"
        self.endpoint = _checked_endpoint(endpoint or os.environ.get("AWS_ENDPOINT_URL"))
        # The environment is that of whoever runs this, a recipe may be somebody else's.
        if endpoint and not may_send_credentials(endpoint):
            raise UserError(f"storage.endpoint: {http_refusal(endpoint)}")
        self.region = region
        self._backends: dict[str, Backend] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_backends": {}}

    def __repr__(self) -> str:
        return f"Store({self.root!r})"

    def uri(self, path: str = "") -> str:
        """The absolute path or s3:// address of a path."""
        backend, key = self._locate(path)
        return backend.uri(key)

    def filesystem_and_path(self, path: str) -> tuple[fs.FileSystem, str]:
        """A path as Arrow names it."""
        backend, key = self._locate(path)
        return backend.filesystem, backend.filesystem_path(key)

    def read_bytes(self, path: str, offset: int | None = None, length: int | None = None) -> bytes:
        """An object's content, or `length` bytes of it from `offset` on (fewer at the end).

        The whole content is compared with what the store says of it (see `local`), a part is not.
        """

        def read() -> bytes:
            with self.open(path) as file:
                start = offset or 0
                rest = max(file.size() - start, 0)
                wanted = rest if length is None else min(length, rest)
                return file.read_at(wanted, start) if wanted else b""

        with self.reading(path):
            if offset is not None or length is not None:
                return retried(read)
            with self.local(path) as copy, open(copy.path, "rb") as file:
                return file.read()

    def open(self, path: str) -> pa.NativeFile:
        """An object for reading at random positions."""
        backend, key = self._locate(path)
        with self.reading(path):
            return backend.filesystem.open_input_file(backend.filesystem_path(key))

    def local(self, path: str, version: str | None = None) -> LocalCopy:
        """An object as a local file, for the context that this is.

        From S3 it is a temporary copy, compared with what the server says of the object, so that
        damage found in it is the object's own. In a folder it is the object itself.

        Args:
            path: the object.
            version: what `list` said; None takes the object as it is now.

        Raises:
            UserError: the object is of another version by now; it arrives damaged every time; or
                there is no room for a copy.
        """
        backend, key = self._locate(path)
        return backend.local(key, version)

    def reading(self, path: str) -> AbstractContextManager[None]:
        """A context in which errors of reaching the object become UserErrors.

        Errors that come from what is in the object pass unchanged; an object that is not there is
        a FileNotFoundError.
        """
        backend, key = self._locate(path)
        return self._explaining(backend, "read", key)

    def write_bytes(self, path: str, data: bytes | pa.Buffer) -> None:
        """Write an object; readers see all of it or what was there before."""
        backend, key = self._locate(path)
        backend.write(key, memoryview(data))

    def write_new(self, path: str, data: bytes) -> bool:
        """Write an object unless there is one; returns whether it was written."""
        backend, key = self._locate(path)
        return backend.write_new(key, data)

    def exists(self, path: str) -> bool:
        """Whether there is an object at the path, or any below it."""
        backend, key = self._locate(path)
        return backend.exists(key)

    def list(self, pattern: str, limit: int | None = None) -> list[ObjectInfo]:
        """Objects that a pattern names, sorted by path; none is no error.

        Args:
            pattern: an object, or a folder (which names everything below it), or a glob with `*`
                and `?` (within one component of the path) and `**` (any number of components).
            limit: stop after so many, whichever come first.
        """
        require_inside(pattern)
        backend, root = self._locate(self._base(pattern))
        rest = pattern.removeprefix(self._base(pattern)).strip("/")
        base = root.rstrip("/") + "/" if root else ""
        if is_glob(rest):
            glob = Glob.compile(rest)
            found = backend.walk(base + glob.prefix, glob.depth)
            found = (item for item in found if glob.matches(item.path.removeprefix(base)))
        elif rest:
            found = (item for item in backend.walk(base + rest, 1) if item.path == base + rest)
            found = list(found) or backend.walk(f"{base}{rest}/")
        else:
            found = backend.walk(base)
        shown = self._shown(pattern, backend, base)
        found = islice(found, limit)
        return sorted(replace(item, path=shown(item.path)) for item in found)

    def delete(self, path: str) -> None:
        """Delete an object, or a folder with all it holds; having none is no error."""
        backend, key = self._locate(path)
        assert key.strip("/"), f"refusing to delete the whole of {backend.uri(key)}"
        backend.delete(key)

    def upload(self, local_dir: str | os.PathLike[str], path: str) -> None:
        """Copy a local folder's files, each of them whole or not at all, to below a path."""
        local_dir = os.fspath(local_dir)
        if not os.path.isdir(local_dir):
            raise UserError(f"cannot upload {local_dir}: it is not a folder")
        backend, key = self._locate(path)
        names = [
            os.path.relpath(os.path.join(folder, name), local_dir)
            for folder, _, names in os.walk(local_dir)
            for name in names
        ]
        _in_parallel(
            lambda name: backend.write_file(f"{key}/{name}", os.path.join(local_dir, name)), names
        )

    def download(
        self, path: str, local_dir: str | os.PathLike[str], wanted: Sequence[str] = ("*",)
    ) -> None:
        """Copy what is below a path to a local folder; files get their names when whole.

        Args:
            path: the folder.
            local_dir: where to; made if it is not there.
            wanted: patterns of names; what matches none of them is left out.

        What comes from S3 is compared with what the server says of it.

        Raises:
            UserError: there is nothing of that below the path, or see `local`.
        """
        backend, key = self._locate(path)
        prefix = key.rstrip("/") + "/"
        versions = {
            item.path: item.version
            for item in backend.walk(prefix)
            if any(fnmatch(item.path, pattern) for pattern in wanted)
        }
        if not versions:
            raise UserError(f"cannot download {backend.uri(key)}: there is nothing below it")
        target, folder = Folder(), os.path.abspath(local_dir)
        places = {key: os.path.join(folder, _below(backend, key, prefix)) for key in versions}

        def fetch(key: str) -> None:
            with target.replacing(places[key]) as temporary, open(temporary, "x+b") as file:
                backend.fetch(key, file, versions[key])

        _in_parallel(fetch, list(versions))

    def denied(self, access: Access, path: str) -> Sequence[str]:
        """What may not be done with a path; see `Backend.denied`.

        Args:
            access: "list" what begins with the path, "read" the object, "add" or "write" below it.
            path: the path; listing one that ends in "/", or the root, is of what is below it.
        """
        backend, key = self._locate(path)
        if access == "list" and key and (not path or path.endswith("/")):
            key = key.rstrip("/") + "/"
        return backend.denied(access, key)

    def _base(self, pattern: str) -> str:
        """The part of a pattern that is no pattern: nothing, "/", or s3://bucket."""
        if pattern.startswith(S3):
            return "/".join(pattern.split("/")[:3])
        return "/" if pattern.startswith("/") else ""

    def _shown(self, pattern: str, backend: Backend, base: str) -> Callable[[str], str]:
        """How to write a key in the way the pattern is written."""
        if pattern.startswith((S3, "/")):
            return backend.uri
        return lambda key: _below(backend, key, base)

    def _locate(self, path: str) -> tuple[Backend, str]:
        """The backend and key of a path."""
        require_inside(path)
        if not path.startswith((S3, "/")):
            path = f"{self.root}/{path}".rstrip("/") or "/"
        if not path.startswith(S3):
            return self._backend(""), os.path.normpath(path)
        bucket, key = _bucket_and_key(path)
        return self._backend(bucket), key

    def _backend(self, bucket: str) -> Backend:
        if bucket not in self._backends:
            if bucket:
                from longspan.storage.s3 import Bucket

                self._backends[bucket] = Bucket(bucket, self.endpoint, self.region)
            else:
                # Keys of the service and users' texts are below the root.
                self._backends[bucket] = Folder(None if self.root.startswith(S3) else self.root)
        return self._backends[bucket]

    @contextmanager
    def _explaining(self, backend: Backend, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not is_transport(error):
                raise
            raise backend.explain(error, doing, key) from error


def _below(backend: Backend, key: str, prefix: str) -> str:
    """A key without a prefix; an object store takes keys that would be paths to anywhere in a file system.

    Raises:
        UserError: it is such a key.
    """
    name = key.removeprefix(prefix)
    if not is_relative(name):
        raise UserError(
            f"storage: {backend.uri(key)} has an empty component or '..' in its key, which as a path leads "
            "elsewhere; delete that object"
        )
    return name


def _bucket_and_key(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix(S3).partition("/")
    if not bucket or "@" in bucket or ":" in bucket:
        raise UserError(
            "storage: an S3 address is s3://bucket/prefix; credentials come from the environment, "
            "a profile or the node's role"
        )
    return bucket, key.rstrip("/")


def _checked_endpoint(endpoint: str | None) -> str | None:
    if not endpoint:
        return None
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc:
        raise UserError(
            "storage.endpoint: must be http://host:port or https://host:port, without credentials"
        )
    return endpoint


def _in_parallel(action: Callable[[str], None], names: list[str]) -> None:
    """Do something to every name; the first error stops what has not begun."""
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(action, name) for name in sorted(names)]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
