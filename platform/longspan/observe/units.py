"""Numbers as a person reads them."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """Two units at most: "8s", "2m10s", "3h05m", "4d07h"."""
    if not math.isfinite(seconds):
        return "unknown"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


def count(number: float) -> str:
    """Three digits and a factor of a thousand: "812", "12.3k", "1.25M", "400B"."""
    for factor, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= factor * 0.9995:
            return _three_digits(number / factor) + suffix
    return _three_digits(number)


def _three_digits(number: float) -> str:
    if not math.isfinite(number):
        return str(number)
    digits = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
