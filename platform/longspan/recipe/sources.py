"""Where a recipe's things are: its store, and the raw objects of its corpora."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from longspan.errors import UserError
from longspan.storage import Store

if TYPE_CHECKING:
    from longspan.recipe.schema import Corpus, Recipe


@dataclass(frozen=True)
class SourceObjects:
    """The raw objects of one corpus."""

    name: str
    count: int
    bytes: int


def base_folder() -> Path:
    """Where relative local paths start: the current folder.

    A job submitted with ``--working-dir`` runs in an uploaded copy that has no data; there it is the
    checkout that the environment belongs to.
    """
    here = Path.cwd()
    if "working_dir_files" not in here.parts:
        return here
    return Path(os.environ.get("LONGSPAN_ROOT") or Path(sys.prefix).parent)


def local_path(path: str) -> str:
    """``path`` made absolute where it is a local one."""
    return path if "://" in path else str(base_folder() / Path(path).expanduser())


def open_store(recipe: Recipe) -> Store:
    """The recipe's store; nothing is contacted yet."""
    storage = recipe.storage
    return Store(local_path(storage.root), endpoint=storage.endpoint, region=storage.region)


def patterns(corpus: Corpus) -> tuple[str, ...]:
    """A corpus's paths, one or several."""
    return (corpus.path,) if isinstance(corpus.path, str) else tuple(corpus.path)


def find_objects(recipe: Recipe, store: Store) -> list[SourceObjects]:
    """The raw objects of every corpus.

    Raises:
        UserError: a source matches no object (the nearest name that exists is given), or the store
            can't be reached.
    """
    return [_objects_of(corpus, store) for corpus in recipe.corpora]


def _objects_of(corpus: Corpus, store: Store) -> SourceObjects:
    found = {item.path: item for pattern in patterns(corpus) for item in store.list(pattern)}
    if not found:
        shown = ", ".join(patterns(corpus))
        raise UserError(
            f"corpora.{corpus.name}.path: {shown} matches no object in {store.uri()}{_nearest(store, patterns(corpus))}"
        )
    return SourceObjects(corpus.name, len(found), sum(item.size for item in found.values()))


def _nearest(store: Store, wanted: Sequence[str]) -> str:
    """The object or folder whose name is closest, looked for two levels up."""
    folder = wanted[0].split("*")[0].rstrip("/").rpartition("/")[0]
    names = (
        {item.path for item in store.list(folder)}
        if folder
        else {item.path for item in store.list("corpora")}
    )
    names |= {name.rpartition("/")[0] for name in names}
    close = difflib.get_close_matches(wanted[0], sorted(names), n=1, cutoff=0.5)
    return f"; the nearest there is: {close[0]}" if close else ""
