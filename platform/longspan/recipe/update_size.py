"""Tokens of one optimizer update where a recipe does not set them: whole rows of every length, many updates a run."""

from __future__ import annotations

import math
from collections.abc import Sequence

MIN_UPDATES = 100
"""Updates that a short run is divided into, where its rows and workers allow so many."""


def update_tokens(tokens: int | None, lengths: Sequence[int], groups: int, largest: int) -> int:
    """Tokens per update: `largest`, or fewer where the run would have less than `MIN_UPDATES` updates.

    It is a multiple of every row length, and no less than a row for each group where `largest` allows it.

    Args:
        tokens: of the whole run; None where it is not limited.
        lengths: of its rows.
        groups: of workers, each of which computes rows of its own.
        largest: the most tokens, before they are rounded to whole rows.
    """
    unit = math.lcm(*lengths)
    most = max(1, round(largest / unit))
    if tokens is None:
        return most * unit
    busy = math.ceil(groups * max(lengths) / unit)
    return min(most, max(tokens // MIN_UPDATES // unit, busy)) * unit
