"""Code by repository: all files of a repository are one document, in an order that a reader would take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeVar

from longspan.corpus.filters import LeftOut
from longspan.corpus.wanted import File
from longspan.storage.patterns import is_glob

BETWEEN = "\n\n"
EMPTY_FILE = "empty file"

Other = TypeVar("Other")


@dataclass(frozen=True)
class RepositoryRule:
    """What makes files one repository, and how they are joined.

    Either rows are files, whose fields name them, or objects are, whose folders do.

    Attributes:
        name: the field that holds a row's repository.
        path: the field that holds a row's path in its repository.
        depth: the number of folders, below the fixed part of a source's pattern, that name an
            object's repository.
        header: what stands before each file; {path} is its path in the repository.
    """

    name: str | None = None
    path: str | None = None
    depth: int | None = None
    header: str = "{path}\n"

    @property
    def fields(self) -> tuple[str, str] | None:
        """The fields of a row that name its repository and path; None where objects are files."""
        return (self.name, self.path) if self.name and self.path else None


def reading_order(path: str) -> tuple[object, ...]:
    """Sorts the files of a repository: what introduces it first, a folder's files before its folders.

    Args:
        path: a file's path in the repository.
    """
    *folders, name = path.strip("/").split("/")
    introduces = not folders and name.lower().startswith("readme")
    return (not introduces, *((True, folder) for folder in folders), (False, name))


def join(files: Iterable[tuple[str, str]], header: str) -> str:
    """One document of the files of a repository, in reading order.

    Args:
        files: path and text of each; those of the same path stay in the order given.
        header: what stands before each file; {path} is its path.
    """
    parts = [
        header.replace("{path}", path) + text.rstrip("\r\n")
        for path, text in sorted(files, key=lambda file: reading_order(file[0]))
    ]
    return BETWEEN.join(parts) + "\n"


def grouped(items: Iterable[File | Other], header: str) -> Iterator[str | LeftOut | Other]:
    """One document of all files of a repository, in the order in which repositories first appear.

    What is no file passes at once; files without any text are left out. The files of a repository
    need not follow each other: all texts of the object are held in memory.
    """
    repositories: dict[str, list[tuple[str, str]]] = {}
    for item in items:
        if isinstance(item, File) and not item.text:
            yield LeftOut(EMPTY_FILE)
        elif isinstance(item, File):
            repositories.setdefault(item.repository, []).append((item.path, item.text))
        else:
            yield item
    while repositories:
        # The first, and its texts are let go.
        yield join(repositories.pop(next(iter(repositories))), header)


def fixed_folder(pattern: str) -> str:
    """The folder that a source's pattern begins with; what lies below it varies."""
    return "/".join(takewhile(lambda part: not is_glob(part), pattern.rstrip("/").split("/")))


def repository_of(path: str, folder: str, depth: int) -> str | None:
    """The folder of the repository that an object is in; None where it lies in too few folders.

    Args:
        path: the object's path, below `folder`.
        folder: what the source's pattern begins with.
        depth: how many folders below it name a repository.
    """
    below = path.removeprefix(folder).strip("/").split("/")
    if len(below) <= depth:
        return None
    named = "/".join(below[:depth])
    return path[: path.index(named, len(folder)) + len(named)]
