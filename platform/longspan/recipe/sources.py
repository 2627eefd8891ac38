"""Where a recipe's things are: its store, and the raw objects of its corpora."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from longspan.corpus.filters import conditions
from longspan.corpus.repository import RepositoryRule
from longspan.corpus.resolve import resolve
from longspan.corpus.sources import SourceSpec
from longspan.errors import UserError
from longspan.place import is_submitted, is_uploaded_copy
from longspan.selection.cleaning import CleaningRules
from longspan.selection.evaluation import EvaluationSpec
from longspan.storage import Need, Store
from longspan.storage.preflight import LIST_ROOT

if TYPE_CHECKING:
    from longspan.recipe.places import Storage
    from longspan.recipe.schema import Corpus, Recipe


class WithStorage(Protocol):
    """What anybody writes who uses a store."""

    @property
    def storage(self) -> Storage:
        """Where it is."""
        ...


class WithSources(WithStorage, Protocol):
    """A recipe of any job that reads corpora out of a store."""

    @property
    def corpora(self) -> Sequence[Corpus]:
        """Which."""
        ...


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
    if not is_uploaded_copy():
        return Path.cwd()
    return Path(os.environ.get("LONGSPAN_ROOT") or Path(sys.prefix).parent)


def local_path(path: str) -> str:
    """``path`` made absolute where it is a local one."""
    return path if "://" in path else str(base_folder() / Path(path).expanduser())


def open_store(recipe: WithStorage) -> Store:
    """The recipe's store; nothing is contacted yet.

    Raises:
        UserError: the root is a relative path, in a submitted job, of a folder that is not there.
    """
    storage = recipe.storage
    if (
        is_submitted()
        and _is_relative(storage.root)
        and not Path(local_path(storage.root)).is_dir()
    ):
        raise UserError(
            f"storage.root: {storage.root!r} is a relative path, and a submitted job resolves it on the head node, in "
            f"the folder where `ray start` ran: {local_path(storage.root)} is not there; give an absolute path that "
            "all nodes see, or s3://bucket/prefix"
        )
    return Store(local_path(storage.root), endpoint=storage.endpoint, region=storage.region)


def relative_root_note(recipe: WithStorage) -> str | None:
    """Note for a relative `storage.root` with the folder that it is here; None for any other root."""
    root = recipe.storage.root
    of_head = os.environ.get("LONGSPAN_ROOT")
    if not _is_relative(root) or is_submitted() or (of_head and base_folder() == Path(of_head)):
        return None
    return (
        f"storage.root: {root!r} is relative, here {local_path(root)}; a submitted job starts it in the folder where "
        "`ray start` ran. An absolute path is the same folder in both"
    )


def _is_relative(root: str) -> bool:
    return "://" not in root and not Path(root).expanduser().is_absolute()


def source_specs(recipe: WithSources) -> list[SourceSpec]:
    """The recipe's corpora as the ingest takes them."""
    return [
        SourceSpec(
            corpus.name,
            (corpus.path,) if isinstance(corpus.path, str) else tuple(corpus.path),
            corpus.format,
            corpus.text_field,
            corpus.min_tokens,
            corpus.max_tokens,
            conditions(corpus.where),
            RepositoryRule(**corpus.repository.model_dump()) if corpus.repository else None,
            tuple(sorted(set(corpus.ignore_fields))),
            corpus.heldout_fraction,
        )
        for corpus in recipe.corpora
    ]


def cleaning_rules(recipe: Recipe) -> CleaningRules:
    """What the recipe's corpora leave out."""
    if recipe.decontaminate is None:
        return CleaningRules(recipe.deduplicate)
    asked = recipe.decontaminate
    evaluations = tuple(
        EvaluationSpec(
            name,
            (files.path,) if isinstance(files.path, str) else tuple(files.path),
            tuple(files.text_fields),
            files.format,
        )
        for name, files in asked.against.items()
    )
    return CleaningRules(recipe.deduplicate, evaluations, asked.ngram, asked.share)


def ingest_needs(recipe: Recipe) -> list[Need]:
    """What an ingest of the recipe's corpora does with its store."""
    read = [
        Need("read", pattern, f"corpora.{spec.name}.path")
        for spec in source_specs(recipe)
        for pattern in spec.patterns
    ]
    evaluations = [
        Need("read", pattern, f"decontaminate.against.{spec.name}.path")
        for spec in cleaning_rules(recipe).evaluations
        for pattern in spec.patterns
    ]
    return [LIST_ROOT, *read, *evaluations, Need("add", "shards", "storage.root")]


def run_needs(recipe: Recipe, model: str) -> list[Need]:
    """What a run of the recipe does with its store, with its base model at this address."""
    of_model = [Need("read", f"{model}/*", "base_model")] if model.startswith("s3://") else []
    of_run = Need("write", f"runs/{recipe.name}", "storage.root")
    return [*ingest_needs(recipe), *of_model, of_run]


def find_objects(recipe: WithSources, store: Store) -> list[SourceObjects]:
    """The raw objects of every corpus.

    Raises:
        UserError: a source matches no object (the nearest name that exists is given), an object's
            format can't be told, or the store can't be reached.
    """
    found = [(spec.name, resolve(store, spec)) for spec in source_specs(recipe)]
    return [
        SourceObjects(name, len(objects), sum(item.size for item in objects))
        for name, objects in found
    ]
