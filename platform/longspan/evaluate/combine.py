"""Intervals in closed form: of a share, and of a weighted sum of independent estimates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

LEVEL = 0.95
Z = NormalDist().inv_cdf(0.5 + LEVEL / 2)


class HasInterval(Protocol):
    """A value with the ends of its interval, such as an `Estimate`."""

    @property
    def value(self) -> float:
        """Estimated value."""
        ...

    @property
    def low(self) -> float:
        """Lower end."""
        ...

    @property
    def high(self) -> float:
        """Upper end."""
        ...


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(successes: float, n: float) -> Interval:
    """Return Wilson's score interval of a share (Wilson 1927).

    Args:
        successes: of `n`; need not be whole, as `scipy.stats.binomtest` requires.
        n: samples, or the effective number of samples that depend on each other (Dean and Pagano 2015).
    """
    p, z2 = successes / n, Z * Z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At 0 and 1 one end is exact, and rounding must not put it on the wrong side.
    return Interval(
        p, max(0.0, middle - half) if p > 0 else 0.0, min(1.0, middle + half) if p < 1 else 1.0
    )


def weighted_sum(weights: Sequence[float], parts: Sequence[HasInterval]) -> Interval:
    """Return a weighted sum of independent estimates with its interval.

    Distances to the ends are added as squares, which keeps intervals that are not symmetric (MOVER: Zou and Donner
    2008, Statistics in Medicine 27).
    """
    value = math.fsum(w * part.value for w, part in zip(weights, parts, strict=True))
    below = [
        w * (part.value - (part.low if w > 0 else part.high))
        for w, part in zip(weights, parts, strict=True)
    ]
    above = [
        w * ((part.high if w > 0 else part.low) - part.value)
        for w, part in zip(weights, parts, strict=True)
    ]
    return Interval(value, value - math.hypot(*below), value + math.hypot(*above))


def mean_interval(parts: Sequence[HasInterval]) -> Interval:
    """Return the mean of independent estimates, each with the same weight."""
    return weighted_sum([1 / len(parts)] * len(parts), parts)


def expected_half_width(n: int, share: float = 0.856, design_effect: float = 1.0) -> float:
    """Return half the width of the interval of a share that `n` samples will give.

    Args:
        n: samples, one at least.
        share: expected; the default is RULER's threshold.
        design_effect: variance of the mean over that of independent samples: 1 + (samples of a cluster - 1) times
            their correlation.
    """
    effective = n / design_effect
    found = wilson(share * effective, effective)
    return (found.high - found.low) / 2
