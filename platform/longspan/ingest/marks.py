"""Which tokens of a conversation are of answers, kept in the tokens themselves.

No vocabulary has 2^30 words: an answer's tokens carry that bit in shards and rows, so that all that
handles tokens (packing, checksums, digests, the stream) needs to know nothing of it. It is taken
off where a batch is made.
"""

from __future__ import annotations

import numpy as np

ANSWER = 1 << 30


def marked(tokens: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Tokens with marks, of the tokens' own type.

    Args:
        tokens: integers [n], not negative.
        answers: bool [n].
    """
    assert not (tokens & ANSWER).any(), f"a token of {int(tokens.max())}"
    return tokens | (answers.astype(tokens.dtype) << tokens.dtype.type(30))


def unmarked(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of :func:`marked`: tokens, and bool answers, of the same shape."""
    return tokens & (ANSWER - 1), (tokens & ANSWER) != 0
