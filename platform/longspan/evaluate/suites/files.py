"""Data and task files of suites: objects of the store as local files, in a folder of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from longspan.errors import UserError
from longspan.evaluate.suites.schema import SuiteTask
from longspan.hashing import content_id
from longspan.model.cache import model_cache_folder
from longspan.storage import Store

ENDINGS = (".jsonl", ".json", ".parquet", ".jsonl.gz", ".jsonl.zst")
READERS = {".parquet": "parquet"}
"""Reader of `datasets` by ending; "json" for all others."""


def suites_folder() -> Path:
    """Return the folder of this machine for copies of data and task files."""
    return model_cache_folder().parent / "evaluation"


def stored_files(
    task: SuiteTask, leaf: str, data: str | None, store: Store
) -> dict[str, list[str]]:
    """Return paths in the store of a task's data by split; none if neither the task nor the suite names data.

    Args:
        task: as the recipe has it.
        leaf: task itself, or a member of its group.
        data: the suite's folder of data.
        store: that paths are of.

    Raises:
        UserError: a path names no object, or `data` has none for this task.
    """
    if task.files:
        found = {
            split: [paths] if isinstance(paths, str) else paths
            for split, paths in task.files.items()
        }
    elif data is not None:
        found = _by_convention(store, f"{data.rstrip('/')}/{leaf}")
    else:
        return {}
    return {
        split: [path for pattern in paths for path in _objects(store, pattern)]
        for split, paths in found.items()
    }


def local_files(
    files: Mapping[str, Sequence[str]], store: Store, folder: Path
) -> dict[str, list[str]]:
    """Return objects as local files, by split.

    Args:
        files: paths in the store by split.
        store: that they are of.
        folder: for copies.
    """
    return {
        split: [_local(store, path, folder) for path in paths] for split, paths in files.items()
    }


def reader(paths: Sequence[str], where: str) -> str:
    """Return the name of the reader of files, which must be of one kind.

    Raises:
        UserError: some are Parquet and some are not.
    """
    readers = {READERS.get(Path(path).suffix, "json") for path in paths}
    if len(readers) > 1:
        raise UserError(
            f"{where}: Parquet and JSON files cannot be mixed in one task; convert one of them"
        )
    return readers.pop()


def local_folder(store: Store, path: str, folder: Path) -> Path:
    """Return a folder of task files as a local one.

    Raises:
        UserError: there is nothing in it.
    """
    uri = store.uri(path)
    if not uri.startswith("s3://"):
        if not os.path.isdir(uri):
            raise UserError(f"suites.include: {uri} is not a folder; give one with task files")
        return Path(uri)
    target = folder / "include" / content_id(uri)
    shutil.rmtree(target, ignore_errors=True)
    store.download(path, target)
    return target


def _by_convention(store: Store, folder: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in store.list(folder):
        name, *below = item.path.removeprefix(folder).strip("/").split("/")
        ending = next((end for end in ENDINGS if item.path.endswith(end)), None)
        if ending:
            split = name if below else name.removesuffix(ending)
            found.setdefault(split, []).append(item.path)
    if not found:
        raise UserError(
            f"suites.data: {store.uri(folder)} has no data; put <split>.jsonl (or .json, .parquet) of the task there, "
            "or files of these kinds into folders <split>"
        )
    return found


def _objects(store: Store, pattern: str) -> list[str]:
    paths = [item.path for item in store.list(pattern)]
    if not paths:
        raise UserError(
            f"suites.tasks.files: {store.uri(pattern)} does not exist; give a file, a folder, or a pattern"
        )
    return paths


def _local(store: Store, path: str, folder: Path) -> str:
    """Path of an object as a local file that keeps its name, whose ending says how to read it."""
    uri = store.uri(path)
    if not uri.startswith("s3://"):
        return uri
    target = folder / "files" / content_id(uri) / Path(uri).name
    target.parent.mkdir(parents=True, exist_ok=True)
    with store.local(path) as copy:
        shutil.copyfile(copy.path, target)
    return str(target)
