"""An evaluation from held-out documents to a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from longspan.evaluate.assemble import Measured, by_task, results_of
from longspan.evaluate.documents import documents_hash
from longspan.evaluate.gate.judge import judge
from longspan.evaluate.heldout import gather
from longspan.evaluate.heldout_objects import HeldoutChoice, HeldoutSource
from longspan.evaluate.loss_stage import LossStage
from longspan.evaluate.losses.stored import CONTEXT_LOSSES, write_context_losses
from longspan.evaluate.prepare import Prepared, needs
from longspan.evaluate.probe_stage import ProbeStage, reference_folder, require_answers
from longspan.evaluate.prompt_format import ChatFormat, CompletionFormat, load_format
from longspan.evaluate.records import delete_other_records
from longspan.evaluate.report.page import write_report
from longspan.evaluate.report.text import summary
from longspan.evaluate.reported import check_endpoint
from longspan.evaluate.results import Results, Verdict
from longspan.evaluate.samples import ProbeSource
from longspan.evaluate.suite_samples import SUITE_SAMPLES, write_suite_samples
from longspan.evaluate.suite_stage import SuiteStage, load_tasks
from longspan.generate.progress import Log
from longspan.recipe.sources import source_specs
from longspan.storage import Store
from longspan.storage.preflight import require_access

RESULTS = "results.json"
REPORT = "report.html"


def run(prepared: Prepared, log: Log = print) -> Verdict:
    """Measure what is missing, write results, samples and report, and print a summary; Ray must be connected.

    Returns:
        The verdict of the acceptance gate.

    Raises:
        UserError: something is not as the recipe needs it, or the endpoint does not answer any more.
    """
    results = write_evaluation(prepared, log)
    assert results.verdict is not None, "an evaluation ends in a verdict"
    log(f"\n{summary(results)}\n")
    for name in (REPORT, RESULTS):
        log(f"{name}: {prepared.store.uri(f'{prepared.folder}/{name}')}")
    return results.verdict


def write_evaluation(prepared: Prepared, log: Log) -> Results:
    """Measure what is missing, and write results, samples and report; returns the results.

    Raises:
        UserError: as `run`.
    """
    store, folder = prepared.store, prepared.folder
    require_access(store, needs(prepared))
    # Until they are written anew, results of another recipe would be taken for those of this one.
    for name in (RESULTS, REPORT, SUITE_SAMPLES, CONTEXT_LOSSES):
        store.delete(f"{folder}/{name}")
    results, measured = evaluate(prepared, log)
    write_measured(store, folder, measured)
    samples = by_task(measured[0].probes.records)
    store.write_bytes(f"{folder}/{REPORT}", write_report(results, samples).encode())
    store.write_bytes(f"{folder}/{RESULTS}", results.model_dump_json(indent=1).encode())
    return results


def write_measured(store: Store, folder: str, measured: Sequence[Measured]) -> None:
    """Write what a later comparison needs of the model, and delete samples of tasks that the recipe has no more.

    Args:
        store: to write to.
        folder: of the evaluation.
        measured: of the model, and of the reference if there is one.
    """
    own, *others = measured
    if own.suites.samples:
        write_suite_samples(store, folder, own.suites.samples)
    if own.losses:
        write_context_losses(store, folder, own.losses)
    delete_other_records(store, folder, by_task(own.probes.records))
    kept = by_task(others[0].probes.records) if others else {}
    delete_other_records(store, reference_folder(folder), kept)


def evaluate(prepared: Prepared, log: Log) -> tuple[Results, list[Measured]]:
    """Measure what is missing; returns results with their verdict, and what was measured of each model."""
    recipe = prepared.recipe
    # Probes and losses may take hours, and mistakes in suites are to be found before.
    suite_tasks = load_tasks(prepared, log)
    format = prompt_format(prepared)
    served = [check_endpoint(prepared, log)] if prepared.recipe.endpoint else []
    documents = gather(prepared.store, heldout_choice(prepared, format), log).documents
    source = ProbeSource(
        documents, documents_hash(documents), format, recipe.seed, recipe.probes.depths
    )
    probes = ProbeStage(prepared, prepared.tasks, source, log)
    losses = LossStage(prepared, documents, log)
    suites = SuiteStage(prepared, suite_tasks, probes, losses, log)
    measured = [
        Measured(model, probes.ask(model), losses.losses(model), suites.run(model))
        for model in prepared.models
    ]
    measured = [replace(each, reported=served or probes.reported(each.model)) for each in measured]
    require_answers(measured[0].probes.records)
    results = results_of(prepared, prepared.tasks, source, measured)
    results = results.model_copy(update={"verdict": judge(results, recipe.gate)})
    return results, measured


def prompt_format(prepared: Prepared) -> CompletionFormat | ChatFormat:
    """Return how all models of the evaluation are given prompts."""
    return load_format(
        prepared.model.folder,
        prepared.template,
        append_answer_prefix=prepared.recipe.probes.answer_prefix,
        key=prepared.model.key,
    )


def heldout_choice(prepared: Prepared, format: CompletionFormat | ChatFormat) -> HeldoutChoice:
    """Return which documents are taken."""
    recipe = prepared.recipe
    sources = tuple(
        HeldoutSource(
            spec, corpus.heldout_fraction or 1.0, corpus.max_documents, corpus.min_characters
        )
        for spec, corpus in zip(source_specs(recipe), recipe.corpora, strict=True)
    )
    return HeldoutChoice(sources, format.control_tokens, recipe.bad_input)
