"""Sources of a recipe's data: the raw objects of its corpora, and what its jobs do with the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from longspan.config.locations import WithStorage
from longspan.corpus.filters import conditions
from longspan.corpus.repository import RepositoryRule
from longspan.corpus.resolve import resolve
from longspan.corpus.sources import SourceSpec
from longspan.extensions.points import CORPUS_FORMATS
from longspan.selection.cleaning import CleaningRules
from longspan.selection.evaluation import EvaluationSpec
from longspan.storage import Need, Store
from longspan.storage.preflight import LIST_ROOT

if TYPE_CHECKING:
    from longspan.recipe.schema import Corpus, Recipe


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


def source_specs(recipe: WithSources) -> list[SourceSpec]:
    """The recipe's corpora as the ingest takes them.

    Raises:
        UserError: a format is code that whoever runs the job has not allowed.
    """
    for corpus in recipe.corpora:
        CORPUS_FORMATS.require_allowed(corpus.format, f"corpora.{corpus.name}.format")
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
            corpus.format_options,
        )
        for corpus in recipe.corpora
    ]


def cleaning_rules(recipe: Recipe) -> CleaningRules:
    """What the recipe's corpora leave out."""
    if recipe.decontaminate is None:
        return CleaningRules(recipe.deduplicate)
    asked = recipe.decontaminate
    for name, files in asked.against.items():
        CORPUS_FORMATS.require_allowed(files.format, f"decontaminate.against.{name}.format")
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
