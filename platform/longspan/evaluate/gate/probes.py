"""Items of the gate on generated probes: recall, beyond literal matching, no drop to the window."""

from __future__ import annotations

from longspan.evaluate.combine import weighted_sum
from longspan.evaluate.gate.findings import (
    Finding,
    Rule,
    at_least,
    faults_of,
    item,
    share,
    truncated_of,
    unknown,
)
from longspan.evaluate.gate.measured import Cells, mean_score, not_reached
from longspan.evaluate.gate.thresholds import Thresholds
from longspan.evaluate.results import Results, TaskResult, VerdictItem
from longspan.evaluate.samples import Family, Scoring

LIKE_RULER: tuple[Family, ...] = ("tracing", "aggregation")
RULER_SCORING: tuple[Scoring, ...] = ("contains_all", "contains_any")
BEYOND_LITERAL: tuple[Family, ...] = ("association", "reasoning")
NEAR_USE: tuple[Family, ...] = ("documents", "many_shot")


def recall(results: Results, thresholds: Thresholds) -> VerdictItem:
    """Recall at every length up to the window: tasks of retrieval, and RULER's of tracing and aggregation."""
    rule = Rule(
        "recall",
        "RULER's threshold (arXiv 2404.06654): Llama 2 7B at 4,096 tokens",
        "no task of retrieval, nor one of RULER's of tracing or aggregation",
    )
    cells = Cells.where(results, _is_recall)
    findings = [
        found for length in cells.lengths for found in _recall_at(cells, length, thresholds)
    ]
    findings += not_reached(cells, results, thresholds, thresholds.recall)
    notes = [_lowest(cells), truncated_of(cells.cells)]
    return item(rule, findings, faults_of(cells.cells), "; ".join(filter(None, notes)))


def beyond_literal(results: Results, thresholds: Thresholds) -> VerdictItem:
    """Tasks without literal overlap and of reasoning, against the model's own score at the shortest length."""
    rule = Rule(
        "beyond_literal",
        "NoLiMa's rule (arXiv 2502.05167), with the shortest measured length as base: score less the share of the base",
        "no task of association or reasoning, or one length only",
    )
    findings: list[Finding] = []
    cells = Cells.of(results, BEYOND_LITERAL)
    for family in BEYOND_LITERAL:
        own = Cells.of(results, [family])
        findings += _against_base(own, family, thresholds)
        findings += not_reached(own, results, thresholds, 0.0)
    return item(rule, findings, faults_of(cells.cells), truncated_of(cells.cells))


def no_drop_to_window(results: Results, thresholds: Thresholds) -> VerdictItem:
    """Tasks near to use, at the window against half of it: a drop larger than its interval fails."""
    rule = Rule(
        "no_drop_to_window",
        "own rule: the score does not fall from half the window to the window by more than its interval",
        "no task of documents or many_shot at both half the window and the window",
    )
    findings: list[Finding] = []
    for family in NEAR_USE:
        own = Cells.of(results, [family]).open_book()
        findings += _drop(own, family, thresholds)
        findings += not_reached(own, results, thresholds, 0.0)
    cells = Cells.of(results, NEAR_USE).open_book()
    return item(rule, findings, faults_of(cells.cells), truncated_of(cells.cells))


def _is_recall(task: TaskResult) -> bool:
    """Whether RULER's threshold fits a task: other measures than RULER's have other scales."""
    return task.family == "retrieval" or (
        task.family in LIKE_RULER and task.scoring in RULER_SCORING
    )


def _recall_at(cells: Cells, length: int, thresholds: Thresholds) -> list[Finding]:
    scores = cells.scores(length)
    if thresholds.recall_rule == "every_task":
        return [
            at_least(score, thresholds.recall, f"{task} at {length:,}: {share(score)}")
            for task, score in scores.items()
        ]
    mean = mean_score(scores, scores)
    return [
        at_least(
            mean, thresholds.recall, f"mean of {len(scores)} tasks at {length:,}: {share(mean)}"
        )
    ]


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
    if len(cells.lengths) < 2:
        return []
    shortest, *longer = cells.lengths
    base_scores = cells.scores(shortest)
    findings = []
    for length in longer:
        scores = cells.scores(length)
        tasks = base_scores.keys() & scores.keys()
        if not tasks:
            findings.append(unknown(0.0, f"{family}: no task at both {shortest:,} and {length:,}"))
            continue
        base, score = mean_score(base_scores, tasks), mean_score(scores, tasks)
        case = f"{family} at {length:,}: {share(score)}, at {shortest:,}: {share(base)}"
        if base.value < thresholds.base_score:
            case += f", which is below {thresholds.base_score}: too low to judge by"
            findings.append(unknown(0.0, case))
        else:
            findings.append(
                at_least(weighted_sum([1, -thresholds.base_share], [score, base]), 0.0, case)
            )
    return findings


def _drop(cells: Cells, family: Family, thresholds: Thresholds) -> list[Finding]:
    if not cells.lengths:
        return []
    full = cells.lengths[-1]
    half = max((each for each in cells.lengths if full / 4 < each <= full / 2), default=None)
    if half is None:
        return []
    before, after = cells.scores(half), cells.scores(full)
    tasks = before.keys() & after.keys()
    if not tasks:
        return [unknown(0.0, f"{family}: no task at both {half:,} and {full:,}")]
    change = weighted_sum([1, -1], [mean_score(after, tasks), mean_score(before, tasks)])
    case = f"{family} from {half:,} to {full:,}: {change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]"
    if change.high < 0:
        return [Finding(change, 0.0, "fail", change.high, case)]
    if change.value - change.low > thresholds.drop_resolution:
        case += ", too wide to rule out a drop"
        return [Finding(change, 0.0, "inconclusive", change.low, case)]
    return [Finding(change, 0.0, "pass", change.low, case)]
