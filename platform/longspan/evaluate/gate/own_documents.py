"""Items of the gate on questions about the user's own documents."""

from __future__ import annotations

from collections.abc import Iterator

from longspan.evaluate.combine import weighted_sum
from longspan.evaluate.gate.findings import (
    Finding,
    Rule,
    above,
    at_least,
    faults_of,
    item,
    share,
    truncated_of,
)
from longspan.evaluate.gate.measured import Cells, not_reached, unmeasurable
from longspan.evaluate.gate.thresholds import Thresholds
from longspan.evaluate.results import Cell, Estimate, Results, TaskResult, VerdictItem
from longspan.evaluate.samples import CLOSED_BOOK


def own_documents_used(results: Results, thresholds: Thresholds) -> VerdictItem:
    """Score with the document less the score without it, at every length up to the window."""
    rule = Rule(
        "own_documents_used",
        "own rule: answers are better with the document than without, by a margin",
        "no questions about own documents with a closed-book control",
    )
    cells = Cells.of(results, ["own_documents"])
    findings = [
        found
        for task in _open_book(results)
        for found in _against_closed_book(task, results, thresholds)
    ]
    if findings:
        findings += not_reached(cells, results, thresholds, thresholds.closed_book_margin)
    findings += unmeasurable(cells, thresholds.closed_book_margin)
    return item(rule, findings, faults_of(cells.cells), truncated_of(cells.cells))


def own_documents_everywhere(results: Results, thresholds: Thresholds) -> VerdictItem:
    """No length and no depth at which the score collapses."""
    rule = Rule(
        "own_documents_everywhere",
        "own rule: no length and no depth has less than a share of the score at the shortest length",
        "no questions about own documents, or one length only",
    )
    cells = Cells.of(results, ["own_documents"]).open_book()
    findings = [
        found for task in _open_book(results) for found in _places(task, results, thresholds)
    ]
    if findings:
        findings += not_reached(cells, results, thresholds, 0.0)
    findings += unmeasurable(cells, 0.0)
    return item(rule, findings, faults_of(cells.cells), truncated_of(cells.cells))


def _open_book(results: Results) -> Iterator[TaskResult]:
    for task in results.tasks:
        if task.family == "own_documents" and not task.task.endswith(CLOSED_BOOK):
            yield task


def _against_closed_book(
    task: TaskResult, results: Results, thresholds: Thresholds
) -> list[Finding]:
    control = next((each for each in results.tasks if each.task == task.task + CLOSED_BOOK), None)
    without = _overall(control, results) if control else {}
    if not without:
        return []
    findings = []
    for length, score in _overall(task, results).items():
        # Without a document there is one length only, unless the control is asked at each.
        closed = without.get(length, without[min(without)])
        case = f"{task.task} at {length:,}: {share(score)}, closed book: {share(closed)}"
        gain = weighted_sum([1, -1], [score, closed])
        findings.append(above(gain, thresholds.closed_book_margin, case))
    return findings


def _places(task: TaskResult, results: Results, thresholds: Thresholds) -> list[Finding]:
    scores = _overall(task, results)
    if len(scores) < 2:
        return []
    shortest = min(scores)
    findings = []
    for cell in task.cells:
        if cell.score is None or cell.length > results.model.window:
            continue
        place = f"{cell.length:,}" + (f", depth {cell.depth:.2f}" if cell.depth is not None else "")
        case = f"{task.task} at {place}: {share(cell.score)}, at {shortest:,}: {share(scores[shortest])}"
        above_share = weighted_sum([1, -thresholds.collapse_share], [cell.score, scores[shortest]])
        found = at_least(above_share, 0.0, case)
        # A depth has few samples: it can show a collapse, but one that is not shown there is no reason for doubt.
        if cell.depth is None or found.status == "fail":
            findings.append(found)
    return findings


def _overall(task: TaskResult, results: Results) -> dict[int, Estimate]:
    cells: Iterator[Cell] = (cell for cell in task.cells if cell.depth is None)
    return {
        cell.length: cell.score
        for cell in cells
        if cell.score is not None and cell.length <= results.model.window
    }
