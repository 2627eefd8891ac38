"""RoPE bases by window: published values, and log-log interpolation between them (docs/method.md)."""

from __future__ import annotations

import math

# RoPE bases that were trained and reported to work, by window.
_ROPE_BASES = {
    32_768: (500_000.0, "arXiv 2309.16039, section 4.1"),
    65_536: (8e6, "ProLong, arXiv 2410.02660"),
    524_288: (1.28e8, "ProLong, arXiv 2410.02660"),
}


def rope_base_for(window: int) -> tuple[float, str]:
    """RoPE base for a window of ``window`` tokens: a published value, or log-log between two of them."""
    windows = sorted(_ROPE_BASES)
    if window <= windows[0]:
        base, source = _ROPE_BASES[windows[0]]
        return base, f"{base:,.0f} up to {windows[0]:,} tokens ({source})"
    if window in _ROPE_BASES:
        base, source = _ROPE_BASES[window]
        return base, f"the value trained for {window:,} tokens ({source})"
    upper = next((i for i, w in enumerate(windows) if w > window), len(windows) - 1)
    low, high = windows[upper - 1], windows[upper]
    slope = math.log(_ROPE_BASES[high][0] / _ROPE_BASES[low][0]) / math.log(high / low)
    base = _ROPE_BASES[low][0] * (window / low) ** slope
    base = float(f"{base:.1e}")
    kind = "between" if window < high else "beyond"
    return (
        base,
        f"log-log {kind} the values trained for {low:,} and {high:,} tokens (see docs/method.md)",
    )


def base_ignored(encoding: str, base: float) -> str:
    """Message for a base in the recipe that an encoding does not use."""
    return (
        f"positions.base: {base:g} would be ignored: encoding {encoding} keeps the model's own base; "
        "leave it out (null), or choose abf or yarn"
    )
