"""Two stored evaluations of the same prompts, compared sample by sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longspan.errors import UserError
from longspan.evaluate.aggregate import compare
from longspan.evaluate.comparison import compare_suites
from longspan.evaluate.losses.measure import loss_changes
from longspan.evaluate.report.differences import Forest, forest
from longspan.evaluate.report.html import COMPARISON, render
from longspan.evaluate.report.load import StoredEvaluation, load_evaluation
from longspan.evaluate.results import Comparison, LossChange, PairedDifference, Results
from longspan.evaluate.suites.schema import PromptCut
from longspan.observe.tables import table
from longspan.storage import Store

HEADER = ("task", "tokens", "points", "95 % interval", "finding", "w / t / l", "n", "detect")
KEY = (
    "Points of 100; w / t / l: samples that the first answered better, equally, worse; detect: the\n"
    "smallest difference that this number of samples finds with a power of 80 %."
)


def compare_stored(store: Store, path: str, reference: str) -> Comparison:
    """Compare two stored evaluations on the samples and questions that both have a score for.

    Suites are compared where both have the same settings, losses where both are of the same tokens and contexts.

    Args:
        store: what relative paths are relative to.
        path: folder or `results.json` of the first.
        reference: of the one that it is compared with.

    Raises:
        UserError: one of them cannot be read, or they share no sample; the message says why.
    """
    own, other = load_evaluation(store, path), load_evaluation(store, reference)
    for name, each in ((path, own), (reference, other)):
        if not each.can_be_paired:
            raise UserError(
                f"{name}: has no samples beside its results, without which nothing can be paired; "
                "copy all of its folder, or evaluate again"
            )
    results, others = own.results, other.results
    model, second = results.model.name, others.model.name
    if model == second:
        model, second = f"{model} ({results.name})", f"{second} ({others.name})"
    found = Comparison(
        model=model,
        reference=second,
        differences=[*_probe_differences(own, other), *_suite_differences(own, other)],
        loss_changes=_loss_changes(own, other),
    )
    if not found.differences and not found.loss_changes:
        raise UserError(f"{path}, {reference}: {why_unpaired(results, others)}")
    return found


def _probe_differences(own: StoredEvaluation, other: StoredEvaluation) -> list[PairedDifference]:
    shared = own.samples.keys() & other.samples.keys()
    first, second = (
        [record for task in sorted(shared) for record in each.samples[task]]
        for each in (own, other)
    )
    return compare(first, second, own.results.provenance.seed)


def _suite_differences(own: StoredEvaluation, other: StoredEvaluation) -> list[PairedDifference]:
    if own.results.model.template != other.results.model.template:
        return []
    shared = _suite_settings(own.results) & _suite_settings(other.results)
    metrics = {(each.task, each.metric) for each in shared}
    first, second = (
        [sample for sample in each.suites if (sample.task, sample.metric) in metrics]
        for each in (own, other)
    )
    return compare_suites(first, second, own.results.provenance.seed)


@dataclass(frozen=True)
class SuiteSettings:
    """Settings that decide the prompts of a suite's task, but for the chat template."""

    task: str
    metric: str
    shots: int | None
    version: str
    prompt_cut: PromptCut | None


def _suite_settings(results: Results) -> set[SuiteSettings]:
    return {
        SuiteSettings(each.task, each.metric, each.shots, each.version, each.prompt_cut)
        for each in results.suites
    }


def _loss_changes(own: StoredEvaluation, other: StoredEvaluation) -> list[LossChange]:
    first, second = own.losses, other.losses
    if first is None or second is None or _drawn_from(own.results) != _drawn_from(other.results):
        return []
    # Targets depend on the longest context: with other contexts they would be other tokens.
    is_same = (
        first.contexts == second.contexts
        and first.by_context.documents == second.by_context.documents
        and np.array_equal(first.by_context.counts, second.by_context.counts)
    )
    return loss_changes(first, second, own.results.provenance.seed) if is_same else []


def _drawn_from(results: Results) -> tuple[int, str, str]:
    """Settings that decide the places and tokens of targets."""
    given = results.provenance
    return given.seed, given.documents_hash, results.model.tokenizer


def why_unpaired(results: Results, others: Results) -> str:
    """Return why two evaluations share no sample, and what to do."""
    different = [
        f"{name} ({value} and {other})"
        for name, value, other in (
            ("seed", results.provenance.seed, others.provenance.seed),
            ("depths", results.provenance.depths, others.provenance.depths),
            (
                "documents",
                results.provenance.documents_hash,
                others.provenance.documents_hash,
            ),
            ("tokenizer", results.model.tokenizer, others.model.tokenizer),
            ("chat template", results.model.template, others.model.template),
        )
        if value != other
    ]
    if different:
        return (
            f"the evaluations share no sample, as they differ in {', '.join(different)}; "
            "evaluate both with the same settings"
        )
    return (
        "the evaluations share no sample that both have a score for; "
        "evaluate both with the same tasks and lengths"
    )


def compare_text(comparison: Comparison) -> str:
    """Return paired differences as a table of at most 100 columns, for names of tasks of up to 24 characters."""
    shown = forest(comparison)
    rows = [
        (
            row.task,
            row.length_text,
            row.difference,
            row.interval,
            row.direction if row.direction != "no difference found" else "none found",
            row.record,
            f"{row.n:,}" + (f" (-{row.left_out:,})" if row.left_out else ""),
            row.detectable,
        )
        for row in shown.rows
    ]
    parts = [f"{comparison.model} minus {comparison.reference}"]
    if rows:
        parts += [KEY, table(rows, HEADER)]
    if any(row.left_out for row in shown.rows):
        parts.append("(-n): samples left out, as one of the two has no score for them")
    if shown.losses:
        parts.append(_losses_text(shown))
    return "\n\n".join(parts)


def compare_page(comparison: Comparison) -> str:
    """Return paired differences as an HTML page, which works from a file and loads nothing."""
    return render(COMPARISON, table=forest(comparison))


def _losses_text(shown: Forest) -> str:
    rows = [
        (row.corpus, f"{row.context:,}", row.change, row.interval, f"{row.documents:,}")
        for row in shown.losses
    ]
    header = ("loss of", "context", "percent", "95 % interval", "documents")
    return table(rows, header)
