"""Tables of standard suites and power laws, with the paper's numbers where settings match."""

from __future__ import annotations

from dataclasses import dataclass

from longspan.evaluate.report.figures import scores_by_length
from longspan.evaluate.report.numbers import number, percent
from longspan.evaluate.report.paper import (
    FIRST_SENTENCE_TASK,
    SIZES,
    first_sentence_scores,
    paper_score,
)
from longspan.evaluate.results import Results, SuiteResult, Template

_NO_SHARES = {"sentiment"}
"""Metrics in [-1, 1]."""
_INVALID = -1e9
"""Sorts values that are invalid below all others."""


@dataclass(frozen=True)
class SuiteRow:
    """One metric of one task."""

    task: str
    metric: str
    shots: str
    n: int
    value: str
    """"" if it is invalid, because questions have no reply."""
    sort: float
    error: str
    """Standard error."""
    reference: str
    """Value of the reference model; "" if it was not measured."""
    counts: str
    """Questions without a reply by reason, shortened prompts, and the limit of questions; "" if there is none."""
    higher_is_better: bool
    version: str
    paper: str
    """Of each of the paper's sizes; "" if it has no such setting."""
    source: str


@dataclass(frozen=True)
class SuiteGroup:
    """Tasks of one suite."""

    title: str
    rows: tuple[SuiteRow, ...]
    has_paper: bool


@dataclass(frozen=True)
class FirstSentenceRow:
    """First-sentence retrieval at one length: measured here, and the paper's 7B model."""

    length: int
    measured: str
    paper: str


def suite_groups(results: Results) -> list[SuiteGroup]:
    """Results of suites by group, in the order in which the groups first appear."""
    values = {(each.task, each.metric, each.shots): each for each in results.reference_suites}
    groups: dict[str, list[SuiteRow]] = {}
    for each in results.suites:
        reference = values.get((each.task, each.metric, each.shots))
        row = _row(each, reference, results.model.template)
        groups.setdefault(each.group or "other", []).append(row)
    return [
        SuiteGroup(title, tuple(rows), any(row.paper for row in rows))
        for title, rows in groups.items()
    ]


def first_sentence_rows(results: Results) -> list[FirstSentenceRow]:
    """Lengths of first-sentence retrieval that the paper has too."""
    task = next((each for each in results.tasks if each.task == FIRST_SENTENCE_TASK), None)
    if task is None:
        return []
    measured = scores_by_length(task)
    paper = first_sentence_scores(task, results.model.template, list(measured))
    return [
        FirstSentenceRow(length, percent(measured[length].value), f"{score:.1f}")
        for length, score in paper.items()
    ]


def _row(result: SuiteResult, reference: SuiteResult | None, template: Template) -> SuiteRow:
    paper = paper_score(result, template)
    return SuiteRow(
        task=result.task,
        metric=result.metric,
        shots="" if result.shots is None else str(result.shots),
        n=result.n,
        value=_scaled(result, result.value),
        sort=_INVALID if result.value is None else result.value,
        error=_scaled(result, result.stderr),
        reference="" if reference is None else _scaled(reference, reference.value),
        counts=_counts(result),
        higher_is_better=result.higher_is_better,
        version=result.version,
        paper=" / ".join(f"{value:g}" for value in paper.values) if paper else "",
        source="" if paper is None else "; ".join(filter(None, (paper.source, paper.note))),
    )


def _scaled(result: SuiteResult, value: float | None) -> str:
    """Return shares in percent, and values of metrics that are no shares as they are."""
    if value is None or result.value is None:
        return ""
    is_share = 0 <= result.value <= 1 and result.higher_is_better
    return percent(value) if is_share and result.metric not in _NO_SHARES else number(value)


def _counts(result: SuiteResult) -> str:
    counts = {
        "over length": result.over_length,
        "refused": result.refused,
        "unanswered": result.unanswered,
        "prompts shortened": result.truncated,
    }
    shown = [f"{count:,} {name}" for name, count in counts.items() if count]
    if result.limit is not None:
        shown.append(f"first {result.limit:,} questions only")
    return ", ".join(shown)


SUITE_SIZES = SIZES
"""Header of the paper's columns."""
