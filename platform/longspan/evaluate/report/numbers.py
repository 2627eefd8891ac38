"""Numbers, intervals and identifiers as a reader sees them."""

from __future__ import annotations

import re

from longspan.evaluate.results import Estimate, Status

NO_CONTEXT = "no context"
"""Length of prompts that hold the evidence alone, or nothing but the question."""
STATUS_WORDS: dict[Status, str] = {
    "pass": "pass",
    "fail": "fail",
    "inconclusive": "inconclusive",
    "not_measured": "not measured",
}


def percent(share: float, digits: int = 1) -> str:
    """A share in [0, 1] (or a difference of two) as a number of percent, without the sign."""
    return _without_minus_zero(f"{100 * share:.{digits}f}")


def points(share: float) -> str:
    """A difference of two shares in points of 100, with its sign."""
    text = percent(share)
    return text if text.startswith("-") else f"+{text}"


def signed_percent(share: float) -> str:
    """A relative change in percent, with its sign."""
    text = percent(share, 2)
    return text if text.startswith("-") else f"+{text}"


def percent_interval(estimate: Estimate) -> str:
    """The 95 % interval of a share, in percent."""
    return f"{percent(estimate.low)} to {percent(estimate.high)}"


def number(value: float | None) -> str:
    """A number with four significant digits, plain unless it is huge or tiny."""
    if value is None:
        return ""
    text = f"{value:.4g}"
    return _without_minus_zero(text) if "e" not in text else text


def number_interval(low: float | None, high: float | None) -> str:
    """An interval in the unit of its value; an end that is None is open."""
    if low is None or high is None:
        ends = (("at least", low), ("at most", high))
        return "".join(f"{words} {number(end)}" for words, end in ends if end is not None)
    return f"{number(low)} to {number(high)}"


def tokens(count: int) -> str:
    """A length in tokens: 512, 8K for 8,192, 1M for 1,048,576, with separators where it is no round one.

    Length 0 is that of prompts with nothing around the evidence.
    """
    if count == 0:
        return NO_CONTEXT
    for unit, name in ((2**20, "M"), (2**10, "K")):
        if count >= unit and count % unit == 0:
            return f"{count // unit}{name}"
    return f"{count:,}"


def anchor(*parts: object) -> str:
    """An identifier of an HTML element."""
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(map(str, parts))).strip("-").lower()


def _without_minus_zero(text: str) -> str:
    return text.removeprefix("-") if not text.strip("-0.") else text
