"""Which raw objects a source's patterns name."""

from __future__ import annotations

import difflib
import posixpath

from longspan.corpus.sources import SourceSpec, format_of
from longspan.errors import UserError
from longspan.storage import ObjectInfo, Store
from longspan.storage.patterns import is_glob

NEAREST_OF = 5000
NOT_CORPORA = ("_SUCCESS", "_metadata", "_common_metadata", "_committed_", "_started_")


def resolve(store: Store, spec: SourceSpec) -> list[ObjectInfo]:
    """A source's objects, sorted by path, each once.

    Hidden objects (a leading dot) and the marks that other tools leave beside their files are
    passed over, unless a pattern is exactly their name.

    Raises:
        UserError: a pattern matches no object, or an object's format cannot be told; the message
            names the key `corpora.<name>.path` and, if there is one, the nearest object.
    """
    found: dict[str, ObjectInfo] = {}
    for pattern in spec.patterns:
        matches = [
            item
            for item in store.list(pattern)
            if item.path == pattern or _is_corpus(item.path.rsplit("/", 1)[-1])
        ]
        if not matches:
            raise UserError(_nothing(store, spec, pattern))
        found.update((item.path, item) for item in matches)
    for path in found:
        format_of(path, spec)
    return [found[path] for path in sorted(found)]


def _is_corpus(name: str) -> bool:
    return not name.startswith((".", *NOT_CORPORA))


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
