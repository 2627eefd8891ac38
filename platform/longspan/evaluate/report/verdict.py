"""Verdict of the acceptance gate in words."""

from __future__ import annotations

from longspan.evaluate.report.numbers import STATUS_WORDS
from longspan.evaluate.results import ModelInfo, Verdict


def condition(name: str) -> str:
    """Name of a condition as it is shown."""
    return name.replace("_", " ")


def judged_window(model: ModelInfo) -> str:
    """Window that the verdict is on, beside the model's own where that is longer."""
    if model.window < model.model_window:
        return f"judged up to {model.window:,} of its {model.model_window:,} tokens"
    return f"window of {model.window:,} tokens"


def headline(verdict: Verdict) -> str:
    """Number of conditions by their result."""
    counts = {
        word: sum(item.status == status for item in verdict.items)
        for status, word in STATUS_WORDS.items()
    }
    stated = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    total = len(verdict.items)
    return f"{total} condition{'s' * (total != 1)}{f': {stated}' if stated else ''}"
