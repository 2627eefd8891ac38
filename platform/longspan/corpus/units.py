"""What is ingested as one: an object, or all the objects that are the files of a repository."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from typing import Any

from longspan.corpus.bad_input import BadInput
from longspan.corpus.filters import LeftOut
from longspan.corpus.repository import grouped
from longspan.corpus.sources import SourceSpec, read
from longspan.corpus.wanted import File
from longspan.storage import LocalCopy, ObjectInfo, Store

THREADS = 8


@dataclass(frozen=True)
class Repository(ObjectInfo):
    """The files of a repository, as one object.

    Its path is the repository's folder, its size that of all files together. Its version is a hash
    of the paths and versions of all files, so that it changes whenever one comes, goes or changes.

    Attributes:
        files: the objects that are its files, sorted by path.
    """

    files: tuple[ObjectInfo, ...]

    @classmethod
    def of(cls, folder: str, files: Iterable[ObjectInfo]) -> Repository:
        """The repository in a folder."""
        files = tuple(sorted(files))
        facts = json.dumps([[item.path, item.version] for item in files])
        version = hashlib.sha256(facts.encode()).hexdigest()[:32]
        return cls(folder, sum(item.size for item in files), version, files)


class RepositoryCopy(LocalCopy):
    """The files of a repository as local ones.

    Attributes:
        copies: of the files that are not empty, by path.
    """

    def __init__(self, copies: dict[str, LocalCopy]) -> None:
        super().__init__("", all(copy.verified for copy in copies.values()), self._end)
        self.copies = copies

    def _end(self) -> None:
        for copy in self.copies.values():
            copy.close()


def local(store: Store, unit: ObjectInfo) -> LocalCopy:
    """A unit as local files; see `Store.local`."""
    if not isinstance(unit, Repository):
        return store.local(unit.path, unit.version)
    copies: dict[str, LocalCopy] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        files = [item for item in unit.files if item.size]
        fetched = [pool.submit(store.local, item.path, item.version) for item in files]
        wait(fetched)
    for item, future in zip(files, fetched, strict=True):
        if not future.exception():
            copies[item.path] = future.result()
    copy = RepositoryCopy(copies)
    if len(copies) < len(files):
        copy.close()
        [future.result() for future in fetched]
    return copy


def read_unit(
    store: Store, unit: ObjectInfo, spec: SourceSpec, copy: LocalCopy
) -> Iterator[str | LeftOut | BadInput]:
    """The documents of an object, or the one of a repository, out of its local copy.

    See `sources.read`.

    Raises:
        UserError: an object cannot be reached, or its format is not known.
        FileNotFoundError: an object is not there.
    """
    if not isinstance(unit, Repository):
        return read(store, unit.path, spec, copy)
    assert isinstance(copy, RepositoryCopy), f"{unit.path}: a copy of an object"
    assert spec.repository, f"{unit.path}: a repository of source {spec.name}, which has none"
    return grouped(_files(store, unit, spec, copy), spec.repository.header)


def _files(
    store: Store, unit: Repository, spec: SourceSpec, copy: RepositoryCopy
) -> Iterator[File | LeftOut | BadInput]:
    as_text = replace(spec, format="text", repository=None)
    for item in unit.files:
        path = item.path.removeprefix(f"{unit.path}/")
        if not item.size:  # Not unusual in code, and no damage.
            yield File(unit.path, path, "")
            continue
        for text in read(store, item.path, as_text, copy.copies[item.path]):
            yield _file(unit, path, text, item.path) if isinstance(text, str) else text


def _file(unit: Repository, path: str, text: str, object_path: str) -> File | BadInput:
    zero = text.find("\0")
    if zero >= 0:
        return BadInput(object_path, "the whole object", "binary", f"character {zero} is zero")
    return File(unit.path, path, text)


def to_json(unit: ObjectInfo) -> dict[str, Any]:
    """A JSON value that `from_json` reads."""
    return asdict(unit)


def from_json(value: dict[str, Any]) -> ObjectInfo:
    """The inverse of `to_json`."""
    if "files" not in value:
        return ObjectInfo(**value)
    files = tuple(ObjectInfo(**item) for item in value["files"])
    return Repository(**(value | {"files": files}))
