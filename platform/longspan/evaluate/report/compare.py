"""Two stored evaluations of the same prompts, compared sample by sample."""

from __future__ import annotations

from itertools import chain

from longspan.errors import UserError
from longspan.evaluate.aggregate import compare
from longspan.evaluate.report.differences import Forest, forest
from longspan.evaluate.report.html import COMPARISON, render
from longspan.evaluate.report.load import load_results, load_samples
from longspan.evaluate.results import Comparison, Results
from longspan.recipe.tables import table
from longspan.storage import Store

HEADER = ("task", "tokens", "points", "95 % interval", "finding", "w / t / l", "n", "detect")
KEY = (
    "Points of 100; w / t / l: samples that the first answered better, equally, worse; detect: the\n"
    "smallest difference that this number of samples finds with a power of 80 %."
)


def compare_stored(store: Store, path: str, reference: str) -> Comparison:
    """Compare two stored evaluations on the samples that both have a score for.

    Args:
        store: what relative paths are relative to.
        path: folder or `results.json` of the first.
        reference: of the one that it is compared with.

    Raises:
        UserError: one of them cannot be read, or they share no sample; the message says why.
    """
    results, others = load_results(store, path), load_results(store, reference)
    own, theirs = load_samples(store, path), load_samples(store, reference)
    for name, samples in ((path, own), (reference, theirs)):
        if not samples:
            raise UserError(
                f"{name}: has no samples beside its results, without which nothing can be paired; "
                "copy the folder samples/ too, or evaluate again"
            )
    differences = compare(
        list(chain.from_iterable(own.values())),
        list(chain.from_iterable(theirs.values())),
        results.provenance.seed,
    )
    if not differences:
        raise UserError(f"{path}, {reference}: {why_unpaired(results, others)}")
    model, other = results.model.name, others.model.name
    if model == other:
        model, other = f"{model} ({results.name})", f"{other} ({others.name})"
    return Comparison(model=model, reference=other, differences=differences)


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
    parts = [f"{comparison.model} minus {comparison.reference}", KEY, table(rows, HEADER)]
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
