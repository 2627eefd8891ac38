"""Effective length: how long inputs may be before a task is no longer solved."""

from __future__ import annotations

from collections.abc import Mapping

from longspan.evaluate.combine import HasInterval

RULER_THRESHOLD = 0.856
"""RULER's threshold: the score of Llama 2 7B (chat) at 4,096 tokens (arXiv 2404.06654, section 4)."""
NOLIMA_SHARE = 0.85
"""Share of a model's own base score that NoLiMa's effective length asks for (arXiv 2502.05167, section 4)."""


def effective_length(
    scores: Mapping[int, HasInterval | None], threshold: float, conservative: bool = False
) -> int | None:
    """Return the longest length up to which every score is at least the threshold.

    Args:
        scores: by length in tokens; None where no sample was answered, which counts as below.
        threshold: in [0, 1].
        conservative: compare the lower ends of the intervals in place of the scores.

    Returns:
        A length of `scores`; None if the score at the shortest one is below.
    """
    reached = None
    for length, score in sorted(scores.items()):
        if score is None or (score.low if conservative else score.value) < threshold:
            break
        reached = length
    return reached


def own_base_threshold(
    scores: Mapping[int, HasInterval | None], share: float = NOLIMA_SHARE
) -> float:
    """Return the threshold of NoLiMa's rule: a share of the score at the shortest length.

    NoLiMa takes the base score from prompts of at most 1,000 tokens: the shortest length should be one.

    Raises:
        ValueError: no sample was answered at the shortest length, or there is none.
    """
    base = scores[min(scores)] if scores else None
    if base is None:
        raise ValueError("scores: none at the shortest length, so there is no base score")
    return share * base.value
