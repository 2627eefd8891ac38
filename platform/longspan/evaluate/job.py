"""An evaluation from held-out documents to a verdict."""

from __future__ import annotations

from longspan.evaluate.assemble import Measured, by_task, results_of
from longspan.evaluate.documents import documents_hash
from longspan.evaluate.gate.judge import judge
from longspan.evaluate.heldout import gather
from longspan.evaluate.heldout_objects import HeldoutChoice, HeldoutSource
from longspan.evaluate.loss_stage import LossStage
from longspan.evaluate.prepare import Prepared, needs
from longspan.evaluate.probe_stage import ProbeStage, require_answers
from longspan.evaluate.prompt_format import ChatFormat, CompletionFormat, load_format
from longspan.evaluate.report.page import write_report
from longspan.evaluate.report.text import summary
from longspan.evaluate.results import Results, SampleRecord, Verdict
from longspan.evaluate.samples import ProbeSource
from longspan.evaluate.suite_stage import SuiteStage
from longspan.generate.progress import Log
from longspan.recipe.sources import source_specs

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
    store.preflight(needs(prepared))
    # Until it is written anew, results of another recipe would be taken for those of this one.
    store.delete(f"{folder}/{RESULTS}")
    results, samples = evaluate(prepared, log)
    store.write_bytes(f"{folder}/{REPORT}", write_report(results, samples).encode())
    store.write_bytes(f"{folder}/{RESULTS}", results.model_dump_json(indent=1).encode())
    return results


def evaluate(prepared: Prepared, log: Log) -> tuple[Results, dict[str, list[SampleRecord]]]:
    """Measure what is missing; returns results with their verdict, and the model's samples by task."""
    recipe = prepared.recipe
    format = prompt_format(prepared)
    documents = gather(prepared.store, heldout_choice(prepared, format), log).documents
    source = ProbeSource(
        documents, documents_hash(documents), format, recipe.seed, recipe.probes.depths
    )
    probes = ProbeStage(prepared, prepared.tasks, source, log)
    losses = LossStage(prepared, documents, log)
    suites = SuiteStage(prepared, probes, losses, log)
    measured = [
        Measured(model, probes.records(model), losses.losses(model), suites.run(model))
        for model in prepared.models
    ]
    require_answers(list(measured[0].records))
    results = results_of(prepared, prepared.tasks, source, measured)
    results = results.model_copy(update={"verdict": judge(results, recipe.gate)})
    return results, by_task(measured[0].records)


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
