"""Noise: five short sentences that say nothing, repeated."""

from __future__ import annotations

NOISE = "The stone is grey. The water is cold. The road is long. We walk on. Then we turn home."


def noise(lines: int) -> list[str]:
    """Return so many lines of noise."""
    return [NOISE] * lines
