"""From a recipe to a job: look at the model and the sources, ingest, derive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longspan.corpus.manifest import SourceManifest
from longspan.errors import UserError
from longspan.plan.hardware import peak_tflops
from longspan.recipe.derive import RunPlan, derive
from longspan.recipe.describe import SourceFacts, describe
from longspan.recipe.device import Device, this_machines_device
from longspan.recipe.load import load_recipe
from longspan.recipe.model import BaseModel, look_at_model, resolve
from longspan.recipe.schema import Recipe
from longspan.recipe.sources import SourceObjects, find_objects, open_store, source_specs
from longspan.storage import Store
from longspan.train.job import Job

BYTES_PER_TOKEN = 4.2
"""English text in current tokenizers; estimates a source that is not ingested yet."""


def check(recipe: Recipe) -> None:
    """Everything that can be checked without starting anything.

    Raises:
        UserError: the store, the model, its tokenizer or a source is not as the recipe needs it, or the
            engine can't run what it asks for.
    """
    store = open_store(recipe)
    require_runnable(recipe)
    model = look_at_model(recipe, store)
    if model.unseen:
        raise UserError(model.unseen)
    find_objects(recipe, store)
    derive(recipe, model.facts, this_machines_device(recipe.workers.gpus_per_worker))


def require_runnable(recipe: Recipe) -> None:
    """Refuse what is planned for, but not built yet."""
    if recipe.workers.sequence_parallel > 1:
        raise UserError(
            "workers.sequence_parallel: the engine runs degree 1 only so far; higher degrees can be planned"
        )
    if recipe.workers.min != recipe.workers.max:
        raise UserError(
            "workers: groups that change size are not supported yet; "
            f"set one number, {recipe.workers.min} or {recipe.workers.max}"
        )


def plan_text(recipe: Recipe) -> tuple[str, list[str]]:
    """The printed plan, and what stands in the way of running it (one message each)."""
    problems: list[str] = []
    store = open_store(recipe)
    model = look_at_model(recipe, store)
    device = this_machines_device(recipe.workers.gpus_per_worker)
    plan = derive(recipe, model.facts, device)
    if model.unseen:
        problems.append(f"{model.unseen} (the plan takes its shape from 'architecture')")
    sources = _known_sources(recipe, store, problems)
    try:
        require_runnable(recipe)
    except UserError as error:
        problems.append(str(error))
    return describe(recipe, model.facts, plan, device, sources), problems


def prepare(recipe: Recipe, device: Device) -> Job:
    """Check, ingest what is new, and derive; Ray must be connected."""
    from longspan.corpus.ingest import ingest
    from longspan.model.source import local_model_dir

    store = open_store(recipe)
    require_runnable(recipe)
    store.preflight()
    model = look_at_model(recipe, store)
    if model.unseen:
        raise UserError(model.unseen)
    find_objects(recipe, store)
    plan = derive(recipe, model.facts, device)
    tokenizer = local_model_dir(
        resolve(recipe.tokenizer or recipe.base_model, store), store, Job.cache_folder()
    )
    manifests = ingest(
        store,
        source_specs(recipe),
        tokenizer_dir=str(tokenizer),
        separator=recipe.document_separator,
        heldout_fraction=recipe.heldout.fraction,
        bad_input=recipe.bad_input,
    )
    return _job(
        recipe, store, plan, device, tuple(manifests[corpus.name] for corpus in recipe.corpora)
    )


def prepare_without_ray(path: Path, overrides: Sequence[str]) -> Job:
    """The same over shards that exist already."""
    recipe = load_recipe(path, overrides)
    store = open_store(recipe)
    require_runnable(recipe)
    model: BaseModel = look_at_model(recipe, store)
    device = this_machines_device(recipe.workers.gpus_per_worker)
    manifests = tuple(SourceManifest.load(store, corpus.name) for corpus in recipe.corpora)
    return _job(recipe, store, derive(recipe, model.facts, device), device, manifests)


def _job(
    recipe: Recipe,
    store: Store,
    plan: RunPlan,
    device: Device,
    manifests: tuple[SourceManifest, ...],
) -> Job:
    recipe = recipe.model_copy(update={"base_model": resolve(recipe.base_model, store)})
    peak = peak_tflops(device.name, plan.precision) if device.kind == "cuda" else None
    return Job(recipe, plan, store, manifests, peak * 1e12 if peak else None)


def _known_sources(recipe: Recipe, store: Store, problems: list[str]) -> list[SourceFacts]:
    try:
        objects = find_objects(recipe, store)
    except UserError as error:
        problems.append(str(error))
        return [
            SourceFacts(corpus.name, None, None, None, None, exact=False)
            for corpus in recipe.corpora
        ]
    return [_source_facts(found, store) for found in objects]


def _source_facts(found: SourceObjects, store: Store) -> SourceFacts:
    try:
        manifest = SourceManifest.load(store, found.name)
    except UserError:
        return SourceFacts(
            found.name,
            found.count,
            found.bytes,
            None,
            int(found.bytes / BYTES_PER_TOKEN),
            exact=False,
        )
    return SourceFacts(
        found.name,
        found.count,
        found.bytes,
        manifest.train_documents,
        manifest.train_tokens,
        exact=True,
    )
