"""Items of the gate on generated probes: recall, beyond literal matching, no drop to the window."""

from __future__ import annotations

from longspan.evaluate.combine import Interval, weighted_sum
from longspan.evaluate.gate.findings import (
    Finding,
    Rule,
    above,
    at_least,
    faults_of,
    item,
    share,
    truncated_of,
    unknown,
)
from longspan.evaluate.gate.measured import Cells, gap, mean_score, not_reached, unmeasurable
from longspan.evaluate.gate.thresholds import Thresholds
from longspan.evaluate.results import Results, VerdictItem
from longspan.evaluate.samples import Family, Scoring

RECALL: tuple[Family, ...] = ("retrieval", "tracing", "aggregation")
RULER_SCORING: tuple[Scoring, ...] = ("contains_all", "contains_any")
SMOKE_TESTS: frozenset[str] = frozenset({"passkey"})
"""Tasks that nearly every model solves: they would raise the mean that RULER's threshold is compared with."""
BEYOND_LITERAL: tuple[Family, ...] = ("association", "reasoning")
NEAR_USE: tuple[Family, ...] = ("documents", "many_shot")


def counts_for_recall(task: str, family: Family, scoring: Scoring) -> bool:
    """Whether RULER's threshold fits a task: other measures than RULER's have other scales."""
    return family in RECALL and scoring in RULER_SCORING and task not in SMOKE_TESTS


def recall(results: Results, thresholds: Thresholds) -> VerdictItem:
    """Recall at every length up to the window: retrieval, tracing and aggregation, with RULER's scoring."""
    rule = Rule(
        "recall",
        "RULER's threshold (arXiv 2404.06654): Llama 2 7B at 4,096 tokens",
        "no task of retrieval, tracing or aggregation that is scored as RULER's; pass keys do not count",
    )
    cells = Cells.where(
        results, lambda each: counts_for_recall(each.task, each.family, each.scoring)
    )
    lengths = cells.lengths
    findings = [found for length in lengths for found in _recall_at(cells, length, thresholds)]
    if len(lengths) == 1:
        findings.append(unknown(thresholds.recall, f"{lengths[0]:,} is the only length"))
    findings += not_reached(cells, results, thresholds, thresholds.recall)
    findings += unmeasurable(cells, thresholds.recall)
    notes = [_lowest(cells), _tasks(cells), truncated_of(cells.cells)]
    return item(rule, findings, faults_of(cells.cells), "; ".join(filter(None, notes)))


def beyond_literal(results: Results, thresholds: Thresholds) -> VerdictItem:
    """Tasks without literal overlap and of reasoning, against the model's own score at the shortest length."""
    rule = Rule(
        "beyond_literal",
        "NoLiMa's rule (arXiv 2502.05167), with the shortest measured length as base: score less the share of the base",
        "no task of association or reasoning, or one length only",
    )
    findings: list[Finding] = []
    not_compared = []
    for family in BEYOND_LITERAL:
        own = Cells.of(results, [family])
        found = _against_base(own, family, thresholds)
        if not found:
            not_compared.append(f"{family}: {'one length only' if own.cells else 'not measured'}")
        findings += [*found, *not_reached(own, results, thresholds, 0.0)]
    # One of the two says nothing about the other.
    if findings:
        findings += [unknown(0.0, case) for case in not_compared]
    cells = Cells.of(results, BEYOND_LITERAL)
    findings += unmeasurable(cells, 0.0)
    return item(rule, findings, faults_of(cells.cells), truncated_of(cells.cells))


def no_drop_to_window(results: Results, thresholds: Thresholds) -> VerdictItem:
    """Tasks near to use, at the window against half of it: a test of non-inferiority with a margin."""
    rule = Rule(
        "no_drop_to_window",
        "own rule: the score falls by less than a margin from half the window to the window",
        "no task of documents or many_shot at both half the window and the window",
    )
    findings: list[Finding] = []
    not_compared, not_measured = [], []
    for family in NEAR_USE:
        own = Cells.of(results, [family]).open_book()
        found = _drop(own, family, thresholds)
        if not own.cells:
            not_measured.append(f"{family}: not measured")
        elif not found:
            not_compared.append(f"{family}: no score at half the window, or none at the window")
        findings += [*found, *not_reached(own, results, thresholds, 0.0)]
    # Paragraphs need a file of questions, which not every recipe has: the other family suffices.
    if findings:
        findings += [unknown(-thresholds.drop_margin, case) for case in not_compared]
    cells = Cells.of(results, NEAR_USE).open_book()
    findings += unmeasurable(cells, -thresholds.drop_margin)
    notes = [*(not_measured if findings else ()), truncated_of(cells.cells)]
    return item(rule, findings, faults_of(cells.cells), "; ".join(filter(None, notes)))


def _recall_at(cells: Cells, length: int, thresholds: Thresholds) -> list[Finding]:
    scores = cells.scores(length)
    missing = gap(cells, length, thresholds.recall)
    if thresholds.recall_rule == "every_task":
        single = [
            at_least(score, thresholds.recall, f"{task} at {length:,}: {share(score)}")
            for task, score in scores.items()
        ]
        return [*single, *missing]
    if missing:
        return missing
    mean = _mean(cells, length)
    case = f"mean of {len(scores)} tasks at {length:,}: {share(mean)}"
    return [at_least(mean, thresholds.recall, case)]


def _tasks(cells: Cells) -> str:
    names = dict.fromkeys(task for task, _ in cells.cells)
    return f"tasks: {', '.join(names)}" if names else ""


def _lowest(cells: Cells) -> str:
    scores = [
        (score.value, task, length, score)
        for length in cells.lengths
        for task, score in cells.scores(length).items()
    ]
    if not scores:
        return ""
    _, task, length, score = min(scores, key=lambda each: each[:3])
    return f"lowest task: {task} at {length:,}: {share(score)}"


def _against_base(cells: Cells, family: Family, thresholds: Thresholds) -> list[Finding]:
    """Compare each length with the shortest one; no findings if there is one length only."""
    if len(cells.lengths) < 2:
        return []
    shortest, *longer = cells.lengths
    gaps = [found for length in cells.lengths for found in gap(cells, length, 0.0)]
    if gaps:
        return gaps
    base = _mean(cells, shortest)
    stated = f"at {shortest:,}: {share(base)}"
    if base.value < thresholds.base_score:
        low = f"below {thresholds.base_score}, which is too low to judge by"
        return [unknown(0.0, f"{family} {stated}, {low}")]
    findings = []
    for length in longer:
        score = _mean(cells, length)
        kept = weighted_sum([1, -thresholds.base_share], [score, base])
        findings.append(at_least(kept, 0.0, f"{family} at {length:,}: {share(score)}, {stated}"))
    return findings


def _drop(cells: Cells, family: Family, thresholds: Thresholds) -> list[Finding]:
    """Compare the longest length with half of it; no findings if there is no such length."""
    if not cells.lengths:
        return []
    full = cells.lengths[-1]
    half = max((each for each in cells.lengths if full / 4 < each <= full / 2), default=None)
    if half is None:
        return []
    gaps = [
        found for length in (half, full) for found in gap(cells, length, -thresholds.drop_margin)
    ]
    if gaps:
        return gaps
    change = weighted_sum([1, -1], [_mean(cells, full), _mean(cells, half)])
    case = f"{family} from {half:,} to {full:,}: {change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
    return [above(change, -thresholds.drop_margin, case)]


def _mean(cells: Cells, length: int) -> Interval:
    scores = cells.scores(length)
    return mean_score(scores, scores)
