"""A run's data: its corpora ingested, what is ready of them, or what the run began with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from longspan.chat.template import Template
from longspan.chat.tokenizer import ChatTokenizer
from longspan.config.locations import open_store
from longspan.corpus.example_sets import require_no_heldout
from longspan.corpus.resolve import resolve as resolve_objects
from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.errors import UserError
from longspan.ingest.corpora import Ingest, Manifests
from longspan.model.address import model_address
from longspan.model.cache import model_cache_folder
from longspan.model.source import local_tokenizer_dir
from longspan.recipe.model import inspect_tokenizer
from longspan.recipe.sources import cleaning_rules, ingest_needs, source_specs
from longspan.selection.cleaning import clean
from longspan.shards.manifest import SourceManifest
from longspan.storage.preflight import require_access
from longspan.train.data.identity import data_identity
from longspan.train.data.snapshot import DataSnapshot, describe_drift

if TYPE_CHECKING:
    from longspan.recipe.schema import Recipe
    from longspan.selection.contamination import Contamination
    from longspan.storage import Store


def ingest_of(recipe: Recipe, store: Store) -> Ingest:
    """The ingest of a recipe's corpora."""
    tokenizer = model_address(recipe.tokenizer or recipe.base_model, store)
    return Ingest(
        store,
        source_specs(recipe),
        str(local_tokenizer_dir(tokenizer, store, model_cache_folder())),
        recipe.document_separator,
        recipe.heldout.fraction,
        recipe.bad_input,
        end_of_turn=recipe.end_of_turn,
    )


def check_chat_template(recipe: Recipe, store: Store) -> None:
    """Load the tokenizer's chat template where there are conversations, and try it.

    Raises:
        UserError: there is none, it fails, or nothing ends an answer.
    """
    if not any(corpus.format == "chat" for corpus in recipe.corpora):
        return
    key = "tokenizer" if recipe.tokenizer else "base_model"
    tokenizer = model_address(recipe.tokenizer or recipe.base_model, store)
    folder = local_tokenizer_dir(tokenizer, store, model_cache_folder())
    Template(ChatTokenizer.load(folder, key), recipe.end_of_turn).require_end_of_turn(key)


def check_ingest(recipe: Recipe) -> None:
    """What can be checked of an ingest without starting anything; the model itself isn't needed.

    Raises:
        UserError: the store, the tokenizer or a source is not as the recipe needs it.
    """
    store = open_store(recipe)
    inspect_tokenizer(recipe, store)
    check_chat_template(recipe, store)
    _check_objects(recipe, store)


def ingest_corpora(recipe: Recipe) -> Manifests:
    """Bring all of a recipe's token shards up to date; Ray must be connected."""
    store = open_store(recipe)
    require_access(store, ingest_needs(recipe))
    inspect_tokenizer(recipe, store)
    check_chat_template(recipe, store)
    ingest = ingest_of(recipe, store)
    manifests, _ = _cleaned(recipe, ingest, ingest.run(), distributed=True, log=print)
    return manifests


def check_data(recipe: Recipe, store: Store) -> None:
    """What can be checked of a run's data without reading it.

    Raises:
        UserError: a source names no object, or examples about held-out documents; or the run has begun, and with
            other settings.
    """
    check_chat_template(recipe, store)
    if _pin(recipe, ingest_of(recipe, store)).load() is None:
        _check_objects(recipe, store)


def _check_objects(recipe: Recipe, store: Store) -> None:
    for spec in source_specs(recipe):
        require_no_heldout(store, spec.name, (item.path for item in resolve_objects(store, spec)))


def run_data(
    recipe: Recipe,
    store: Store,
    everything: Callable[[Ingest], Manifests],
    log: Callable[[str], None] = print,
    *,
    distributed: bool = False,
) -> Manifests:
    """What a run trains on, by source: what it began with; or, at its first start, what is there now.

    Args:
        recipe: the run.
        store: where it is.
        everything: gives the manifests of all objects: `Ingest.run`, or `Ingest.done`.
        log: takes lines for a person to read.
        distributed: look for evaluation sets on the Ray cluster, else in this process.

    Raises:
        UserError: there is no such data (the key to change is named).
    """
    check_chat_template(recipe, store)
    ingest = ingest_of(recipe, store)
    pin = _pin(recipe, ingest)
    if (begun := pin.load()) is not None:
        for spec in ingest.specs:
            log(f"data: {_as_begun(store, spec, begun[spec.name])}")
        return begun
    gathered = ingest.ready(log) if recipe.start_on == "ready" else everything(ingest)
    manifests, report = _cleaned(recipe, ingest, gathered, distributed=distributed, log=log)
    # A run that an older version began is told from others by its checkpoint only.
    if not pin.has_checkpoint():
        pin.save(manifests, report.to_json() if report else None)
    return manifests


def known_data(recipe: Recipe, store: Store) -> Manifests:
    """The manifests that are known already: of a run that has begun, or of sources that are all ingested.

    Raises:
        UserError: the run has begun, and with other settings, or some of its data is gone.
    """
    try:
        ingest = ingest_of(recipe, store)
    except UserError:  # The tokenizer can't be reached, and nothing is known without its hash.
        return {}
    if (begun := _pin(recipe, ingest).load()) is not None:
        return begun
    known: Manifests = {}
    for spec in ingest.specs:
        try:
            known |= replace(ingest, specs=[spec]).done()
        except UserError:  # Not ingested yet.
            continue
    return known


def _cleaned(
    recipe: Recipe,
    ingest: Ingest,
    manifests: Manifests,
    *,
    distributed: bool,
    log: Callable[[str], None],
) -> tuple[Manifests, Contamination | None]:
    """Without duplicates and what is in evaluation sets, and a report of the latter."""
    for name, manifest in manifests.items():
        require_no_heldout(ingest.store, name, (item.path for item in manifest.objects))
    left, report = clean(
        ingest.store,
        [manifests[corpus.name] for corpus in recipe.corpora],
        cleaning_rules(recipe),
        lambda: Tokenizer(ingest.tokenizer_dir, ingest.separator),
        distributed=distributed,
        progress=log,
    )
    return {manifest.name: manifest for manifest in left}, report


def _pin(recipe: Recipe, ingest: Ingest) -> DataSnapshot:
    settings = ingest.settings
    identity = data_identity(recipe, settings.tokenizer, settings.template)
    return DataSnapshot(ingest.store, recipe.name, identity)


def _as_begun(store: Store, spec: SourceSpec, manifest: SourceManifest) -> str:
    facts = f"{len(manifest.objects)} objects, {manifest.train_tokens} tokens"
    try:
        since = describe_drift(manifest, resolve_objects(store, spec))
    except UserError as error:  # The raw objects are not needed any more.
        since = str(error)
    return f"{spec.name}: {facts}, as at this run's start" + (f"; {since}" if since else "")
