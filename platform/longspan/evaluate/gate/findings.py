"""Findings: single comparisons of an interval with a threshold, and the item that they make together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from longspan.evaluate.combine import HasInterval
from longspan.evaluate.gate.thresholds import ItemName
from longspan.evaluate.results import Cell, Estimate, Status, VerdictItem

FindingStatus = Literal["pass", "fail", "inconclusive"]
WORST_FIRST: tuple[FindingStatus, ...] = ("fail", "inconclusive", "pass")


@dataclass(frozen=True)
class Finding:
    """One comparison.

    Attributes:
        interval: what was measured; None if there is no number.
        threshold: that it is compared with.
        status: result.
        distance: from the threshold to the end of the interval that has to be on its good side; the lowest is worst.
        case: which task, length and numbers.
    """

    interval: HasInterval | None
    threshold: float
    status: FindingStatus
    distance: float
    case: str


def at_least(interval: HasInterval, threshold: float, case: str) -> Finding:
    """Pass if the whole interval is at or above the threshold, fail if it is below."""
    if interval.low >= threshold and has_interval(interval):
        status: FindingStatus = "pass"
    else:
        status = "fail" if interval.high < threshold and has_interval(interval) else "inconclusive"
    return Finding(interval, threshold, status, interval.low - threshold, case)


def above(interval: HasInterval, threshold: float, case: str) -> Finding:
    """Pass if the whole interval is above the threshold, fail if it is at or below."""
    if interval.low > threshold and has_interval(interval):
        status: FindingStatus = "pass"
    else:
        status = "fail" if interval.high <= threshold and has_interval(interval) else "inconclusive"
    return Finding(interval, threshold, status, interval.low - threshold, case)


def below(interval: HasInterval, threshold: float, case: str) -> Finding:
    """Pass if the whole interval is below the threshold, fail if it is at or above."""
    if interval.high < threshold and has_interval(interval):
        status: FindingStatus = "pass"
    else:
        status = "fail" if interval.low >= threshold and has_interval(interval) else "inconclusive"
    return Finding(interval, threshold, status, threshold - interval.high, case)


def unknown(threshold: float, case: str) -> Finding:
    """Return what can't be compared, for a reason that `case` states."""
    return Finding(None, threshold, "inconclusive", 0.0, case)


def has_interval(interval: HasInterval) -> bool:
    """Whether the ends are known: not for one cluster of an unbounded measure."""
    return not (isinstance(interval, Estimate) and interval.method == "none")


@dataclass(frozen=True)
class Rule:
    """Name and source of an item, with what is missing where there is nothing to compare."""

    name: ItemName
    source: str
    missing: str


def item(rule: Rule, findings: Sequence[Finding], faults: str = "", notes: str = "") -> VerdictItem:
    """Return the item of some findings: the worst of them; a fault fails it.

    The detail has the worst case, and everything that can't be compared.

    Args:
        rule: of the item.
        findings: none if nothing was measured.
        faults: prompts without a reply; "" if there are none.
        notes: more to state.
    """
    if not findings and not faults:
        detail = "; ".join(each for each in (rule.missing, notes) if each)
        return VerdictItem(name=rule.name, status="not_measured", source=rule.source, detail=detail)
    # Python's `min` keeps the first of equals: the order of the findings decides, and is fixed.
    worst = min(
        findings, key=lambda each: (WORST_FIRST.index(each.status), each.distance), default=None
    )
    status: Status = "fail" if faults or worst is None else worst.status
    interval = worst.interval if worst else None
    not_compared = dict.fromkeys(each.case for each in findings if each.interval is None)
    stated = f"worst: {worst.case}" if worst and interval else ""
    details = [faults, stated, *not_compared, notes]
    return VerdictItem(
        name=rule.name,
        status=status,
        value=interval.value if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        threshold=worst.threshold if worst else None,
        source=rule.source,
        detail="; ".join(each for each in details if each),
    )


def faults_of(cells: Sequence[tuple[str, Cell]]) -> str:
    """Describe prompts without a reply in cells of named tasks; "" if there are none."""
    found = []
    for task, cell in cells:
        counts = {
            "refused": cell.refused,
            "longer than the window": cell.over_length,
            "unanswered": cell.unanswered,
        }
        kinds = [f"{count} {kind}" for kind, count in counts.items() if count]
        if kinds:
            found.append(f"{task} at {cell.length:,}: {', '.join(kinds)}")
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"prompts without a reply ({'; '.join(found[:3])}{more})" if found else ""


def truncated_of(cells: Sequence[tuple[str, Cell]]) -> str:
    """Describe replies that ended at `max_tokens`, which is no fault: RULER's answers commonly do."""
    count = sum(cell.truncated for _, cell in cells)
    return f"{count:,} replies ended at max_tokens" if count else ""


def share(interval: HasInterval) -> str:
    """A score with its interval, for details."""
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
