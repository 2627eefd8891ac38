"""Item of the gate on standard suites with short prompts: as good as those of the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

from longspan.evaluate.combine import Interval, Z, mean_interval
from longspan.evaluate.comparison import suite_key
from longspan.evaluate.gate.findings import Finding, Rule, above, item, share, unknown
from longspan.evaluate.gate.thresholds import Thresholds
from longspan.evaluate.results import Results, SuiteResult, VerdictItem

GROUP = "short"


@dataclass(frozen=True)
class _Change:
    """Change of one metric against the reference; positive is better."""

    name: str
    interval: Interval
    is_paired: bool


def short_tasks_retained(results: Results, thresholds: Thresholds) -> VerdictItem:
    """Mean change over the suites of the group "short", and none that is certainly worse than the threshold."""
    rule = Rule(
        "short_tasks_retained",
        "Llama 3.1's rule (arXiv 2407.21783): short-context evaluations recover; here within a margin",
        'no suites of the group "short" of both the model and a reference',
    )
    own = [suite for suite in results.suites if suite.group == GROUP]
    changes = [change for suite in own if (change := _change(suite, results)) is not None]
    unpaired = sum(not change.is_paired for change in changes)
    without = len(own) - len(changes)
    notes = [
        f"{unpaired} of {len(changes)} not paired by sample" if unpaired else "",
        f"{without} without a reference or an error to compare with" if without else "",
    ]
    faults = "; ".join(fault for suite in own if (fault := _fault(suite)))
    findings = _findings(changes, -thresholds.short_tasks)
    if changes and without:
        findings.append(unknown(-thresholds.short_tasks, notes[1]))
    return item(rule, findings, faults, "; ".join(filter(None, notes)))


def _findings(changes: list[_Change], threshold: float) -> list[Finding]:
    if not changes:
        return []
    mean = mean_interval([change.interval for change in changes])
    worst = min(changes, key=lambda change: (change.interval.value, change.name))
    case = f"mean change of {len(changes)} suites: {share(mean)}; lowest: {worst.name}: {share(worst.interval)}"
    single = [
        above(change.interval, threshold, f"{change.name}: {share(change.interval)}")
        for change in changes
    ]
    # The interval of a single suite is usually wider than the threshold: it counts if it is wholly beyond.
    return [above(mean, threshold, case), *(each for each in single if each.status == "fail")]


def _change(suite: SuiteResult, results: Results) -> _Change | None:
    name = suite_key(suite.task, suite.metric)
    sign = 1.0 if suite.higher_is_better else -1.0
    differences = results.comparison.differences if results.comparison else []
    for each in differences:
        if each.task == name and each.length is None:
            ends = sorted((sign * each.difference.low, sign * each.difference.high))
            return _Change(name, Interval(sign * each.difference.value, *ends), True)
    for other in results.reference_suites:
        if (other.task, other.metric, other.shots) == (suite.task, suite.metric, suite.shots):
            return _unpaired(name, suite, other)
    return None


def _unpaired(name: str, suite: SuiteResult, other: SuiteResult) -> _Change | None:
    """Change between results of independent samples; wider than a paired one, as the questions are the same."""
    if suite.value is None or other.value is None or suite.stderr is None or other.stderr is None:
        return None
    value = (suite.value - other.value) * (1 if suite.higher_is_better else -1)
    half = Z * math.hypot(suite.stderr, other.stderr)
    return _Change(name, Interval(value, value - half, value + half), False)


def _fault(suite: SuiteResult) -> str:
    counts = {
        "truncated": suite.truncated,
        "longer than the window": suite.over_length,
        "refused": suite.refused,
        "unanswered": suite.unanswered,
    }
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    return f"prompts of {suite.task}: {kinds}" if kinds else ""
