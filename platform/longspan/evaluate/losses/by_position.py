"""Loss by position in the document: each document's first tokens, up to a window of them, in one row.

Confounds the length of the context with the place in the text; `by_context` does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from longspan.evaluate.losses.documents import TokenizedDocument, TokenizedDocuments
from longspan.evaluate.losses.sums import LossSums, exact_sum
from longspan.evaluate.scoring.requests import LossRequest, Score
from longspan.position_bands import position_bands

MIN_TOKENS = 2
"""Tokens of the shortest row that has a target."""


def head_request(
    documents: TokenizedDocuments, document: TokenizedDocument, window: int
) -> LossRequest | None:
    """Return the request for all losses of a document's first tokens; None if it is too short for one.

    Args:
        documents: that it is one of.
        document: whose beginning is scored.
        window: tokens of the longest row, the prefix included.
    """
    prefix = len(documents.prefix)
    taken = min(len(document), window - prefix)
    if prefix + taken < MIN_TOKENS or not taken:
        return None
    row = documents.row(document.span(0, taken))
    return LossRequest(row, max(1, prefix))


def position_sums(
    documents: TokenizedDocuments,
    requests: Mapping[str, LossRequest],
    scores: Mapping[str, Score],
    window: int,
) -> LossSums:
    """Sum losses by document and band of `position_bands`.

    The position of a loss is that of the token it is predicted from, as in training's held-out loss.

    Args:
        documents: in tokens.
        requests: `head_request` by id of document; others are left out.
        scores: by id of request.
        window: tokens of the longest row.
    """
    bands = position_bands(window)
    edges = [first for first, _ in bands] + [window]
    scored = [each.document for each in documents.documents if each.document.id in requests]
    sums = np.zeros((len(scored), len(bands)))
    counts = np.zeros((len(scored), len(bands)), np.int64)
    for number, document in enumerate(scored):
        request = requests[document.id]
        losses = scores[request.id].losses
        first_position = request.first_target - 1
        cuts = np.clip(np.array(edges) - first_position, 0, len(losses))
        for band, (start, end) in enumerate(pairwise(cuts.tolist())):
            sums[number, band] = exact_sum(losses[start:end])
            counts[number, band] = end - start
    return LossSums(
        tuple(document.id for document in scored),
        tuple(document.corpus for document in scored),
        sums,
        counts,
    )
