"""Which raw objects a source's patterns name."""

from __future__ import annotations

import difflib
import posixpath

from longspan.corpus.format import extension_format
from longspan.corpus.repository import fixed_folder, repository_of
from longspan.corpus.sources import TEXTS, SourceSpec, format_of
from longspan.corpus.units import Repository
from longspan.errors import UserError
from longspan.storage import ObjectInfo, Store
from longspan.storage.patterns import is_glob

NEAREST_OF = 5000
NOT_CORPORA = ("_SUCCESS", "_metadata", "_common_metadata", "_committed_", "_started_")


def resolve(store: Store, spec: SourceSpec) -> list[ObjectInfo]:
    """What a source has to be ingested, sorted by path, each once: objects, or repositories of them.

    Hidden objects and folders (a leading dot) are skipped, and so are the markers that other
    tools leave beside their files, unless a pattern is exactly an object's name.

    Raises:
        UserError: a pattern matches no object, an object's format cannot be told or does not fit
            the source's other settings, or an object is in no repository; the message names the key
            `corpora.<name>....` and, if there is one, the nearest object.
    """
    extension_format(spec)
    found: dict[str, ObjectInfo] = {}
    folders: dict[str, str] = {}
    for pattern in spec.patterns:
        folder = fixed_folder(pattern)
        matches = [
            item
            for item in store.list(pattern)
            if item.path == pattern or _is_corpus(_below(item.path, folder), spec)
        ]
        if not matches:
            raise UserError(_nothing(store, spec, pattern))
        found.update((item.path, item) for item in matches)
        if spec.of_folders:
            folders.update((item.path, _repository(item.path, folder, spec)) for item in matches)
    for path in found:
        _require_fit(path, spec)
    objects = [found[path] for path in sorted(found)]
    return _repositories(objects, folders) if spec.of_folders else objects


def _below(path: str, folder: str) -> str:
    """The rest of an object's path; its name where the pattern spells the folder in another way."""
    return path.removeprefix(folder) if path.startswith(folder) else path.rsplit("/", 1)[-1]


def _is_corpus(path: str, spec: SourceSpec) -> bool:
    """Whether an object is no other tool's, by its path below the fixed part of a pattern."""
    if any(part.startswith(".") for part in path.split("/")):
        return False
    # Files of a repository may have any name.
    return bool(spec.of_folders) or not path.rsplit("/", 1)[-1].startswith(NOT_CORPORA)


def _require_fit(path: str, spec: SourceSpec) -> None:
    format, _ = format_of(path, spec)
    if format in TEXTS and spec.needs_rows:
        raise UserError(
            f"corpora.{spec.name}.{spec.needs_rows}: {path!r} is a text, which has no fields; leave the "
            f"key out, or choose Parquet and JSONL objects with corpora.{spec.name}.path or .format"
        )


def _repository(path: str, folder: str, spec: SourceSpec) -> str:
    repository = repository_of(path, folder, spec.of_folders)
    if repository is None:
        raise UserError(
            f"corpora.{spec.name}.repository: {path!r} is in no repository: depth={spec.of_folders} "
            f"takes the first {spec.of_folders} folders below {folder!r} as its name; choose another "
            f"depth, or a path such as '{folder}/{'*/' * spec.of_folders}**'"
        )
    return repository


def _repositories(objects: list[ObjectInfo], folders: dict[str, str]) -> list[ObjectInfo]:
    members: dict[str, list[ObjectInfo]] = {}
    for item in objects:
        members.setdefault(folders[item.path], []).append(item)
    return [Repository.of(folder, members[folder]) for folder in sorted(members)]


def _nothing(store: Store, spec: SourceSpec, pattern: str) -> str:
    message = f"corpora.{spec.name}.path: {pattern!r} matches no object in {store.uri()}"
    if pattern.startswith(("/", "s3://")):
        message = f"corpora.{spec.name}.path: {pattern!r} matches no object"
    near = _nearest(store, pattern)
    return f"{message}; the nearest that exists is {near!r}" if near else message


def _nearest(store: Store, pattern: str) -> str | None:
    """The object whose path is most like the pattern, in the nearest folder that has any."""
    folder = pattern
    while folder:
        above = posixpath.dirname(folder.rstrip("/"))
        # Not the whole file system, and not the list of buckets.
        if above in ("/", "s3:", "s3:/", folder):
            return None
        folder = above
        if is_glob(folder) or (folder.startswith("s3://") and folder.count("/") < 2):
            continue
        names = [item.path for item in store.list(folder, limit=NEAREST_OF)]
        if names:
            return difflib.get_close_matches(pattern, names, 1, 0.0)[0]
    return None
