"""Verdict of the acceptance gate in words."""

from __future__ import annotations

from longspan.evaluate.report.numbers import STATUS_WORDS
from longspan.evaluate.results import Verdict


def condition(name: str) -> str:
    """Name of a condition as it is shown."""
    return name.replace("_", " ")


def headline(verdict: Verdict) -> str:
    """Number of conditions by their result."""
    counts = {
        word: sum(item.status == status for item in verdict.items)
        for status, word in STATUS_WORDS.items()
    }
    stated = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    total = len(verdict.items)
    return f"{total} condition{'s' * (total != 1)}{f': {stated}' if stated else ''}"
