"""Shares of a mix as the order of rows rounds them."""

from __future__ import annotations

from collections.abc import Sequence

from longspan.order.mixture import integer_weights


def shares(weights: Sequence[float]) -> list[float]:
    """Each source's share of the tokens, as the order of rows rounds it."""
    rounded = iter(integer_weights([weight for weight in weights if weight]))
    whole = [next(rounded) if weight else 0 for weight in weights]
    return [weight / sum(whole) for weight in whole]
