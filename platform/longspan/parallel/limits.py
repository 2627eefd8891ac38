"""Limits of sequence parallelism: attention implementations, and degrees that a model's heads allow."""

from __future__ import annotations

import math
from collections.abc import Sequence

from longspan.errors import UserError

ATTENTION = (
    "flash_attention_3",
    "flash_attention_2",
    "torch_varlen",
    "sdpa_by_document",
    "sdpa",
)
"""Implementations of attention that rows can be shared with, by name."""


def possible_degrees(heads: int, kv_heads: int, lengths: Sequence[int]) -> list[int]:
    """Return the degrees at which every worker gets equally many heads and tokens, smallest first.

    A key-value head is copied where there are fewer than workers.

    Args:
        heads: query heads.
        kv_heads: key-value heads.
        lengths: tokens of the rows, of every length.
    """
    tokens = math.gcd(*lengths)
    return [
        degree
        for degree in range(1, heads + 1)
        if heads % degree == 0
        and (kv_heads % degree == 0 or degree % kv_heads == 0)
        and tokens % degree == 0
    ]


def require_possible_degree(degree: int, heads: int, kv_heads: int, lengths: Sequence[int]) -> None:
    """Refuse a degree that a model's heads or the rows' lengths do not allow; see `possible_degrees`.

    Raises:
        UserError: it is one, with the nearest that is possible.
    """
    possible = possible_degrees(heads, kv_heads, lengths)
    if degree in possible:
        return
    nearest = min(possible, key=lambda other: (abs(other - degree), other))
    rows = " and ".join(f"{length:,}" for length in sorted(set(lengths)))
    raise UserError(
        f"workers.sequence_parallel: {degree} workers cannot share rows of {rows} tokens in attention with {heads} "
        f"query heads and {kv_heads} key-value heads; the nearest possible degree: {nearest} (possible: "
        f"{', '.join(map(str, possible))})"
    )


def require_shareable(implementation: str) -> None:
    """Refuse an implementation of attention that rows cannot be shared with.

    Raises:
        UserError: it is one.
    """
    if implementation not in ATTENTION:
        raise UserError(
            f"workers.sequence_parallel: rows cannot be shared with training.attention {implementation}; set one of "
            f"{', '.join(ATTENTION)}, or workers.sequence_parallel=1"
        )
