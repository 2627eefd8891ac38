"""Marks of a conversation's tokens, kept in the tokens themselves: of answers, and of excluded answers.

No vocabulary has 2^29 words: an answer's tokens carry bit 30 in shards and rows, those of an answer
that is excluded from training bit 29, so that all that handles tokens (packing, checksums, digests,
the stream) needs to know nothing of it. The marks are taken off where a batch is made.
"""

from __future__ import annotations

import numpy as np

ANSWER = 1 << 30
EXCLUDED = 1 << 29


def marked(
    tokens: np.ndarray, answers: np.ndarray, excluded: np.ndarray | None = None
) -> np.ndarray:
    """Tokens with marks, of the tokens' own type.

    Args:
        tokens: integers [n], not negative.
        answers: bool [n].
        excluded: bool [n], none of them an answer's; None is nowhere.
    """
    assert not (tokens & (ANSWER | EXCLUDED)).any(), f"a token of {int(tokens.max())}"
    found = tokens | (answers.astype(tokens.dtype) << tokens.dtype.type(30))
    if excluded is None:
        return found
    assert not (answers & excluded).any(), "a token that is an answer's and excluded"
    return found | (excluded.astype(tokens.dtype) << tokens.dtype.type(29))


def unmarked(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inverse of :func:`marked`: tokens, and bool answers and excluded, of the same shape."""
    return tokens & (EXCLUDED - 1), (tokens & ANSWER) != 0, (tokens & EXCLUDED) != 0
