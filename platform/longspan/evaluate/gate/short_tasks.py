"""Item of the gate on standard suites with short prompts: as good as those of the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from longspan.evaluate.combine import Interval, Z, mean_interval
from longspan.evaluate.comparison import suite_key
from longspan.evaluate.gate.findings import Finding, Rule, above, item, share, unknown
from longspan.evaluate.gate.thresholds import Thresholds
from longspan.evaluate.results import PairedDifference, Results, SuiteResult, VerdictItem

GROUP = "short"


@dataclass(frozen=True)
class _Pair:
    """One metric of a suite, with what there is of the reference.

    Attributes:
        own: result of the model.
        reference: result of the reference.
        difference: on the same questions.
    """

    own: SuiteResult
    reference: SuiteResult | None
    difference: PairedDifference | None

    @property
    def name(self) -> str:
        """Task and metric."""
        return suite_key(self.own.task, self.own.metric)

    @property
    def is_share(self) -> bool:
        """Whether the threshold, a share, fits the metric."""
        results = [self.own, self.reference] if self.reference else [self.own]
        return all(each.value is None or 0 <= each.value <= 1 for each in results)

    @property
    def problem(self) -> str:
        """Why the comparison would be one of other questions than the suite's; "" if it is not."""
        if self.own.value is None:
            return "no value"
        if self.reference and self.reference.value is None:
            return "no value of the reference"
        if self.difference and self.difference.left_out:
            return f"{self.difference.left_out:,} questions without a score of both models"
        return ""

    @property
    def change(self) -> Interval | None:
        """Change against the reference, positive if better; None if there is nothing to compare with."""
        if self.difference is None:
            return _unpaired(self.own, self.reference) if self.reference else None
        sign, found = _sign(self.own), self.difference.difference
        ends = sorted((sign * found.low, sign * found.high))
        return Interval(sign * found.value, *ends)


@dataclass(frozen=True)
class _Choice:
    """Results that the item is made of, and others.

    Attributes:
        counted: the first share of each task, since metrics of one task are of the same questions.
        second: other shares of these tasks.
        no_shares: metrics of another scale.
    """

    counted: tuple[_Pair, ...]
    second: tuple[_Pair, ...]
    no_shares: tuple[_Pair, ...]

    @classmethod
    def of(cls, pairs: Sequence[_Pair]) -> _Choice:
        """Choose, in the order of the results."""
        counted: dict[str, _Pair] = {}
        second = [
            pair
            for pair in pairs
            if pair.is_share and counted.setdefault(pair.own.task, pair) is not pair
        ]
        no_shares = tuple(pair for pair in pairs if not pair.is_share)
        return cls(tuple(counted.values()), tuple(second), no_shares)


def short_tasks_retained(results: Results, thresholds: Thresholds) -> VerdictItem:
    """Mean change over the suites of the group "short", and none that is certainly worse than the threshold."""
    rule = Rule(
        "short_tasks_retained",
        "Llama 3.1's rule (arXiv 2407.21783): short-context evaluations recover; here within a margin",
        'no suites of the group "short" of both the model and a reference',
    )
    own = [suite for suite in results.suites if suite.group == GROUP]
    choice = _Choice.of([_pair(suite, results) for suite in own])
    problems = [f"{pair.name}: {pair.problem}" for pair in choice.counted if pair.problem]
    sound = [pair for pair in choice.counted if not pair.problem]
    compared = [pair for pair in sound if pair.change]
    without = [pair.name for pair in sound if not pair.change]
    findings = _findings(compared, -thresholds.short_tasks)
    findings += [unknown(-thresholds.short_tasks, problem) for problem in problems]
    if findings and without:
        case = f"no result of a reference, or no error, to compare with: {', '.join(without)}"
        findings.append(unknown(-thresholds.short_tasks, case))
    faults = "; ".join(dict.fromkeys(fault for suite in own if (fault := _fault(suite))))
    return item(rule, findings, faults, _notes(choice, compared))


def _pair(suite: SuiteResult, results: Results) -> _Pair:
    name = suite_key(suite.task, suite.metric)
    differences = results.comparison.differences if results.comparison else []
    difference = (each for each in differences if each.task == name and each.length is None)
    kind = (suite.task, suite.metric, suite.shots)
    other = (
        each for each in results.reference_suites if (each.task, each.metric, each.shots) == kind
    )
    return _Pair(suite, next(other, None), next(difference, None))


def _findings(pairs: Sequence[_Pair], threshold: float) -> list[Finding]:
    changes = {pair.name: change for pair in pairs if (change := pair.change)}
    if not changes:
        return []
    mean = mean_interval(list(changes.values()))
    worst = min(changes, key=lambda name: (changes[name].value, name))
    case = f"mean change of {len(changes)} suites: {share(mean)}; lowest: {worst}: {share(changes[worst])}"
    single = [
        above(change, threshold, f"{name}: {share(change)}") for name, change in changes.items()
    ]
    # The interval of a single suite is usually wider than the threshold: it counts if it is wholly beyond.
    return [above(mean, threshold, case), *(each for each in single if each.status == "fail")]


def _notes(choice: _Choice, compared: Sequence[_Pair]) -> str:
    """State what is not paired, and what does not count."""
    unpaired = sum(pair.difference is None for pair in compared)
    first = {pair.own.task: pair.own.metric for pair in choice.counted}
    second = [f"{pair.name} beside {first[pair.own.task]}" for pair in choice.second]
    skipped = [pair.name for pair in choice.no_shares]
    notes = {
        f"not paired by sample: {unpaired} of {len(compared)} suites": unpaired,
        f"second metrics, not counted (suites.tasks.metrics chooses): {', '.join(second)}": second,
        f"no shares in [0, 1], not counted: {', '.join(skipped)}": skipped,
    }
    return "; ".join(note for note, is_stated in notes.items() if is_stated)


def _sign(suite: SuiteResult) -> float:
    return 1.0 if suite.higher_is_better else -1.0


def _unpaired(suite: SuiteResult, other: SuiteResult) -> Interval | None:
    """Change between results of independent samples; wider than a paired one, as the questions are the same."""
    if suite.value is None or other.value is None or suite.stderr is None or other.stderr is None:
        return None
    value = (suite.value - other.value) * _sign(suite)
    half = Z * math.hypot(suite.stderr, other.stderr)
    return Interval(value, value - half, value + half)


def _fault(suite: SuiteResult) -> str:
    counts = {
        "truncated": suite.truncated,
        "longer than the window": suite.over_length,
        "refused": suite.refused,
        "unanswered": suite.unanswered,
    }
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    return f"prompts of {suite.task}: {kinds}" if kinds else ""
