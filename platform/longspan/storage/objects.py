"""What a store's two kinds, a folder and an S3 bucket, have in common."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol, TypeVar

from pyarrow import fs

from longspan.storage.local import LocalCopy

READS = 10
T = TypeVar("T")
Access = Literal["list", "read", "add", "write"]


@dataclass(frozen=True, order=True)
class ObjectInfo:
    """One object of a listing.

    Attributes:
        path: the object's path, written as the pattern that found it was: relative to the store's
            root, absolute, or s3://.
        size: bytes.
        version: changes whenever the object does: its ETag on S3, its time of modification in
            nanoseconds and size in a folder.
    """

    path: str
    size: int
    version: str


class Backend(Protocol):
    """Objects by key: an absolute path in the file system, or a key in one bucket."""

    @property
    def filesystem(self) -> fs.FileSystem:
        """Arrow's way to read the objects."""
        ...

    def uri(self, key: str) -> str:
        """How a person names the object."""
        ...

    def filesystem_path(self, key: str) -> str:
        """The object's path in `filesystem`."""
        ...

    def walk(self, prefix: str, depth: int | None = None) -> Iterator[ObjectInfo]:
        """Objects whose key starts with the prefix, in no particular order.

        Args:
            prefix: any string, not only a folder.
            depth: look no more than this many levels below the prefix's folder; 1 is that folder
                itself. A hint to save time: deeper objects may be listed too.
        """
        ...

    def exists(self, key: str) -> bool:
        """Whether there is an object of that key, or any below it."""
        ...

    def fetch(self, key: str, file: BinaryIO, version: str | None) -> bool:
        """Copy an object into an empty file, and compare the copy with what the store knows of it.

        Args:
            key: the object's.
            file: to be written, read and searched.
            version: the version that the object must have; None is any.

        Returns:
            Whether the copy could be compared.

        Raises:
            UserError: the object is of another version, or arrives damaged every time.
        """
        ...

    def local(self, key: str, version: str | None) -> LocalCopy:
        """An object as a local file, compared like `fetch`'s; the object itself where it is one."""
        ...

    def write(self, key: str, data: bytes | memoryview) -> None:
        """Write an object; readers see all of it or what was there before."""
        ...

    def write_new(self, key: str, data: bytes | memoryview) -> bool:
        """Write an object unless there is one of that key; of several writers at once one succeeds.

        Returns:
            Whether it was written.
        """
        ...

    def write_file(self, key: str, local: str) -> None:
        """Like `write`, from a local file."""
        ...

    def delete(self, key: str) -> None:
        """Delete the object of that key and those below it; having none is no error."""
        ...

    def denied(self, access: Access, key: str) -> Sequence[str]:
        """What may not be done with a key, of all that an access means; nothing when all may.

        Args:
            access: "list": to list what begins with the key; "read": to read the object; "add":
                to write objects below the key and read them again, which a probe object tries;
                "write": to delete them as well.
            key: the object, or what the keys begin with.

        Returns:
            The missing permissions, each with its place.

        Raises:
            UserError: it is not a permission that is missing (nothing answers, ...).
        """
        ...

    def explain(self, error: Exception, doing: str, key: str) -> Exception:
        """What to raise in place of an error met while doing something to a key."""
        ...


def is_transport(error: Exception) -> bool:
    """Whether an error of Arrow's comes from reaching an object, not from what is in it.

    The system's errors have a number, those of S3 name themselves; Arrow raises the same types,
    without either, for a damaged archive or Parquet file.
    """
    if not isinstance(error, OSError):
        return False
    return error.errno is not None or "AWS Error" in str(error)


def retried(read: Callable[[], T]) -> T:
    """The result of reading through Arrow, which does not repeat all that it should.

    A server's refusal to answer so soon is longer than a short read has room for, and the AWS
    client that Arrow has then fails at once, with a failure to write down the reply.
    """
    for attempt in range(READS - 1):
        try:
            return read()
        except OSError as error:
            if "AWS Error INTERNAL_FAILURE" not in str(error):
                raise
        time.sleep(random.uniform(0.5, 1.0) * min(0.1 * 2**attempt, 5.0))
    return read()
