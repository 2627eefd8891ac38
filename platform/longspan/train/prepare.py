"""From a recipe to a job: look at the model and the sources, ingest, derive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from longspan.config.locations import open_store
from longspan.corpus.resolve import resolve as resolve_objects
from longspan.corpus.sources import SourceSpec, format_of
from longspan.errors import UserError
from longspan.ingest.corpora import Ingest
from longspan.model.address import model_address
from longspan.model.attention import Conditions, choose
from longspan.model.hub import HubModel
from longspan.model.kernels import require_gpu
from longspan.model.source import require_weights
from longspan.model.tied import require_tied_alike
from longspan.plan.device import Device, this_machines_device
from longspan.plan.hardware import peak_tflops
from longspan.recipe.derive import RunPlan, derive
from longspan.recipe.describe import describe
from longspan.recipe.describe_rows import RowSource
from longspan.recipe.extensions import check_extensions
from longspan.recipe.model import inspect_model
from longspan.recipe.repeats import SourceFacts, absurd_repeats, repeat_notes
from longspan.recipe.schema import Recipe
from longspan.recipe.sharing import require_shared_rows
from longspan.recipe.sources import run_needs, source_specs
from longspan.shards.manifest import SourceManifest
from longspan.storage import Store
from longspan.storage.preflight import require_access
from longspan.train.data.corpora import check_chat_template, check_data, known_data, run_data
from longspan.train.data.epochs import settled
from longspan.train.data.row_sources import packing_facts, sources_of_rows
from longspan.train.job import Job, make_job
from longspan.train.layout import RunLayout

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts

BYTES_PER_TOKEN = {"plain": 4.2, "packed": 1.6}
"""English text in current tokenizers, as it is and compressed; estimates what is not ingested yet."""


def check(recipe: Recipe) -> None:
    """Everything that can be checked without starting anything.

    Raises:
        UserError: the store, the model, its tokenizer or a source is not as the recipe needs it, or the
            engine can't run what it asks for.
    """
    store = open_store(recipe)
    recipe = at_commits(recipe, store)
    plan = _planned(recipe, store, this_machines_device(recipe.workers.gpus_per_worker))
    check_data(recipe, store)
    if recipe.training.tokens is None and recipe.has_known_tokens:
        _require_enough_data(recipe, plan, _sources(recipe, store, known_data(recipe, store), []))


def require_isolation(recipe: Recipe, facts: ModelFacts) -> None:
    """Refuse a document mask that the model's architecture does not obey.

    Raises:
        UserError: the recipe asks for the mask, or for what needs it.
    """
    if facts.isolates_documents or not recipe.packing.document_mask:
        return
    needs = recipe.needs_document_mask()
    remedy = (
        f"{needs} needs the mask: use a base model whose documents it keeps apart"
        if needs
        else "set packing.document_mask=false, or use a base model whose documents it keeps apart"
    )
    raise UserError(
        f"packing.document_mask: the layers of this {facts.model_type} model let a document see the one before it "
        "in its row, whatever the mask (short convolutions, linear attention and state spaces do); "
        f"{remedy} (docs/models.md)"
    )


def require_room(facts: ModelFacts, plan: RunPlan, device: Device) -> None:
    """Refuse weights that one device can't hold, where each has to: ZeRO 1 and 2 don't shard them."""
    weights = facts.parameters * (2 if plan.precision == "bf16" else 4)
    if plan.zero_stage < 3 and weights > device.memory:
        raise UserError(
            f"training.zero_stage: with stage {plan.zero_stage} each device holds all weights, "
            f"{weights / 2**30:.0f} GiB, and {device.name} has {device.memory / 2**30:.0f} GiB; "
            "stage 3 shards them"
        )


def plan_text(recipe: Recipe) -> tuple[str, list[str]]:
    """The printed plan, and what stands in the way of running it (one message each)."""
    problems: list[str] = []
    store = open_store(recipe)
    model = inspect_model(recipe, store)
    device = this_machines_device(recipe.workers.gpus_per_worker)
    if model.unseen:
        problems.append(f"{model.unseen} (the plan takes its shape from 'architecture')")
    known = _known_data(recipe, store, problems)
    if len(known) == len(recipe.corpora):
        recipe = settled(recipe, store, known)
    plan = derive(recipe, model.facts, device)
    sources = _sources(recipe, store, known, problems)
    for require in (
        lambda: check_extensions(recipe),
        lambda: require_shared_rows(recipe, model.facts, plan),
        lambda: require_isolation(recipe, model.facts),
        lambda: require_room(model.facts, plan, device),
        lambda: check_chat_template(recipe, store),
        lambda: _require_enough_data(recipe, plan, sources),
    ):
        try:
            require()
        except UserError as error:
            problems.append(str(error))
    rows = _row_sources(recipe, store, plan, known) if len(known) == len(sources) else ()
    return describe(recipe, model.facts, plan, device, sources, rows), problems


def prepare(recipe: Recipe, device: Device) -> Job:
    """Check, ingest what is new, and derive; Ray must be connected.

    Raises:
        UserError: something is not as the recipe needs it, or the name is of another run.
    """
    store = open_store(recipe)
    require_access(store, run_needs(recipe, model_address(recipe.base_model, store)))
    recipe = at_commits(recipe, store)
    _log_commits(recipe, print)
    plan = _planned(recipe, store, device)
    _print_notes(plan, print)
    if device.kind == "cpu":
        longest = max(stage.length for stage in plan.stages)
        choose(plan.attention, Conditions(device.kind, plan.precision, longest))
        require_gpu(plan.kernels, device.kind)
    with _saying_how_to_extend(recipe, store):
        data = run_data(recipe, store, Ingest.run, distributed=True)
        job = _job(recipe, store, device, data, print)
        job.require_continuable()  # The workers would say it as well, but only once they have begun.
    return job


def prepare_without_ray(recipe: Recipe, device: Device, log: Callable[[str], None] = print) -> Job:
    """Prepare a job over shards that exist already, without Ray; ``log`` takes lines for the user."""
    store = open_store(recipe)
    recipe = at_commits(recipe, store)
    _log_commits(recipe, log)
    _print_notes(_planned(recipe, store, device), log)
    data = run_data(recipe, store, Ingest.done, log, distributed=False)
    return _job(recipe, store, device, data, log)


@contextmanager
def _saying_how_to_extend(recipe: Recipe, store: Store) -> Iterator[None]:
    """Add to the refusal of another recipe under the name of a finished run how its model is trained further."""
    try:
        yield
    except UserError as error:
        run = RunLayout(store, recipe.name)
        if not (store.exists(run.exported_path) and store.exists(f"{run.model_path}/config.json")):
            raise
        raise UserError(
            f"{error}. Run {recipe.name!r} has finished: to train its model further, start another run from it with "
            f"name=NEW-NAME base_model={run.model_path} training.seed={recipe.training.seed + 1}"
        ) from None


def at_commits(recipe: Recipe, store: Store) -> Recipe:
    """Return the recipe with models that any node finds, those of a hub at a commit.

    It is the commit that the run began with, where it has a checkpoint: a hub's model may have changed since.
    """
    found = {"base_model": model_address(recipe.base_model, store)}
    if recipe.tokenizer:
        found["tokenizer"] = model_address(recipe.tokenizer, store)
    asked = HubModel.parse(recipe.base_model)
    if asked and not asked.revision and not found["base_model"].startswith(("/", "s3://")):
        checkpoint = RunLayout(store, recipe.name).checkpoints.latest()
        run = checkpoint.facts.run if checkpoint else None
        began_with = run.base_model if run else ""
        if (began := HubModel.parse(began_with)) and began.name == asked.name:
            found["base_model"] = began_with
    return recipe.model_copy(update=found)


def _log_commits(recipe: Recipe, log: Callable[[str], None]) -> None:
    for key, address in (("base_model", recipe.base_model), ("tokenizer", recipe.tokenizer or "")):
        model = HubModel.parse(address)
        if model and model.is_pinned:
            log(f"{key}: {model.name} at commit {model.revision}")


def _print_notes(plan: RunPlan, log: Callable[[str], None]) -> None:
    """Print to the job's output what --plan prints as well: logs of workers are read by nobody."""
    for note in plan.notes:
        log(f"Note: {note}")


def _planned(recipe: Recipe, store: Store, device: Device) -> RunPlan:
    """The plan of a recipe that can be run."""
    check_extensions(recipe)
    model = inspect_model(recipe, store)
    if model.unseen:
        raise UserError(model.unseen)
    require_isolation(recipe, model.facts)
    base_model = model_address(recipe.base_model, store)
    require_weights(base_model, store)
    if model.facts.tied and Path(base_model).is_dir():
        require_tied_alike(Path(base_model))
    plan = derive(recipe, model.facts, device)
    require_shared_rows(recipe, model.facts, plan)
    require_room(model.facts, plan, device)
    return plan


def _require_enough_data(recipe: Recipe, plan: RunPlan, sources: Sequence[SourceFacts]) -> None:
    """Refuse a length that nobody gave where the data is far too little for it."""
    if absurd := absurd_repeats(recipe, plan, sources):
        raise UserError(absurd)


def _job(
    recipe: Recipe,
    store: Store,
    device: Device,
    manifests: Mapping[str, SourceManifest],
    log: Callable[[str], None],
) -> Job:
    recipe = settled(recipe, store, manifests)
    plan = _planned(recipe, store, device)
    known = _sources(recipe, store, manifests, [])
    _require_enough_data(recipe, plan, known)
    for note in (*plan.notes, *repeat_notes(recipe, plan, known)):
        log(f"note: {note}")
    in_order = tuple(manifests[corpus.name] for corpus in recipe.corpora)
    peak = peak_tflops(device.name, plan.precision) if device.kind == "cuda" else None
    job = make_job(recipe, plan, store, in_order, peak * 1e12 if peak else None)
    job.data.require_whole_documents()
    return job


def _known_data(recipe: Recipe, store: Store, problems: list[str]) -> Mapping[str, SourceManifest]:
    """What is known exactly: where a run has begun, or a source is ingested as the recipe says."""
    try:
        return known_data(recipe, store)
    except UserError as error:
        problems.append(str(error))
        return {}


def _row_sources(
    recipe: Recipe, store: Store, plan: RunPlan, known: Mapping[str, SourceManifest]
) -> list[RowSource]:
    """What rows are made of, where everything is ingested."""
    corpora = [known[corpus.name] for corpus in recipe.corpora]
    return [
        RowSource(
            source.name,
            source.weight,
            source.manifest.train_documents,
            source.manifest.train_tokens,
            source.manifest.lengths,
            packing_facts(store, source, plan),
        )
        for source in sources_of_rows(recipe, plan.long_threshold, store, corpora)
    ]


def _sources(
    recipe: Recipe, store: Store, known: Mapping[str, SourceManifest], problems: list[str]
) -> list[SourceFacts]:
    """All sources: exact where they are known, estimated otherwise."""
    return [
        _source_facts(spec, store, known.get(spec.name), problems) for spec in source_specs(recipe)
    ]


def _source_facts(
    spec: SourceSpec, store: Store, manifest: SourceManifest | None, problems: list[str]
) -> SourceFacts:
    if manifest:
        documents, tokens = manifest.train_documents, manifest.train_tokens
        objects = len(manifest.objects)
        return SourceFacts(spec.name, objects, manifest.bytes, documents, tokens, exact=True)
    try:
        found = resolve_objects(store, spec)
    except UserError as error:
        if str(error) not in problems:  # A store that can't be reached is one problem.
            problems.append(str(error))
        return SourceFacts(spec.name, None, None, None, None, exact=False)
    estimate = 0.0
    for item in found:
        format, compression = format_of(item.path, spec)
        packed = compression or format == "parquet"
        estimate += item.size / BYTES_PER_TOKEN["packed" if packed else "plain"]
    size = sum(item.size for item in found)
    return SourceFacts(spec.name, len(found), size, None, int(estimate), exact=False)
