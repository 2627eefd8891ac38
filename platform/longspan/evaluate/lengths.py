"""Lengths that a model is evaluated at."""

from __future__ import annotations

from collections.abc import Sequence

from longspan.errors import UserError

USUAL_SHORTEST = 4096
"""Shortest length of RULER (arXiv 2404.06654)."""
DOUBLINGS = 3
"""Doublings up to a window too short for the usual ladder."""
SHORTEST = 128


def length_ladder(window: int) -> list[int]:
    """Return lengths in tokens that double and end with the window.

    They start near 4,096, or at an eighth of a window of less than 32,768 tokens.
    """
    lengths = [window]
    shortest = max(SHORTEST, min(USUAL_SHORTEST, window >> DOUBLINGS))
    while lengths[-1] // 2 >= shortest:
        lengths.append(lengths[-1] // 2)
    return lengths[::-1]


def evaluated_lengths(
    stated: Sequence[int] | None, window: int, model_window: int, beyond_window: bool
) -> list[int]:
    """Return the lengths of prompt and answer together, rising.

    Args:
        stated: the recipe's; None: `length_ladder`.
        window: longest length that is judged.
        model_window: the model's own, in tokens.
        beyond_window: add twice the model's own window.

    Raises:
        UserError: a stated length is longer than the window.
    """
    lengths = list(stated) if stated else length_ladder(window)
    if lengths[-1] > window:
        raise UserError(
            f"probes.lengths: {lengths[-1]:,} is longer than the window of {window:,} tokens; leave it out, or set "
            "window (up to the model's own), or set probes.beyond_window to ask at twice the model's own window"
        )
    if beyond_window:
        lengths.append(2 * max(window, model_window))
    return lengths


def evaluated_window(stated: int | None, model_window: int) -> int:
    """Return the longest length that is judged, in tokens.

    Raises:
        UserError: the stated window is longer than the model's own.
    """
    if stated is not None and stated > model_window:
        raise UserError(
            f"window: {stated:,} is longer than the model's own window of {model_window:,} tokens; leave it out"
        )
    return stated or model_window
