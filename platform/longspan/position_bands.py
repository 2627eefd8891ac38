"""Bands of positions in a document, by which losses are reported."""

from __future__ import annotations

from itertools import pairwise

FIRST_BAND = 64
"""Positions of the first band."""


def position_bands(length: int) -> tuple[tuple[int, int], ...]:
    """Return bands [from, to) that double in width: [0, 64), [64, 128), [128, 256), ... up to ``length``."""
    edges = [0]
    edge = FIRST_BAND
    while edge < length:
        edges.append(edge)
        edge *= 2
    edges.append(length)
    return tuple(pairwise(edges))
