"""Requests in batches: what a scorer computes together, and what a worker is given at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from longspan.evaluate.scoring.requests import ChoiceRequest, LossRequest, Request, Score, Texts
from longspan.evaluate.scoring.scorer import BATCH_TOKENS, RowTooLong, Scorer


def batched(requests: Sequence[Request]) -> list[list[Request]]:
    """Divide requests into batches of about `BATCH_TOKENS`, the longest first.

    A function of the requests alone, so that a run that is killed and started again computes each together with
    the same others, and has the same floats. A request that is there twice is in one batch.
    """
    distinct = {request.id: request for request in requests}
    ordered = sorted(distinct.values(), key=_longest_first)
    batches: list[list[Request]] = []
    filled = 0
    for request in ordered:
        last = batches[-1] if batches else []
        is_loss = isinstance(request, LossRequest)
        # Rows of a batch are padded to its first, which is the longest.
        size = last[0].tokens if is_loss and last else request.tokens
        fits = last and type(last[0]) is type(request) and filled + size <= BATCH_TOKENS
        if not fits:
            batches.append([])
            size, filled = request.tokens, 0
        batches[-1].append(request)
        filled += size
    return batches


def score_batch(scorer: Scorer, batch: Sequence[Request], texts: Texts) -> list[Score]:
    """Score a batch of `batched`; rows that are too long become scores with a problem."""
    losses = [request for request in batch if isinstance(request, LossRequest)]
    choices = [request for request in batch if isinstance(request, ChoiceRequest)]
    scores = [_choice_score(scorer, request) for request in choices]
    return [*_loss_scores(scorer, losses, texts), *scores]


def score_all(scorer: Scorer, requests: Sequence[Request], texts: Texts) -> dict[str, Score]:
    """Score requests in this process; returns scores by the requests' ids."""
    scores: Iterator[Score] = (
        score for batch in batched(requests) for score in score_batch(scorer, batch, texts)
    )
    return {score.id: score for score in scores}


def _loss_scores(scorer: Scorer, requests: Sequence[LossRequest], texts: Texts) -> list[Score]:
    rows = [(texts.row(request.row), request.first_target) for request in requests]
    try:
        losses = scorer.batch_losses(rows) if rows else []
    except RowTooLong as error:
        if len(requests) > 1:  # The others of the batch may fit.
            return [
                score for request in requests for score in _loss_scores(scorer, [request], texts)
            ]
        return [_over_length(requests[0], error)]
    return [
        Score(request.id, request.tokens, losses=own)
        for request, own in zip(requests, losses, strict=True)
    ]


def _choice_score(scorer: Scorer, request: ChoiceRequest) -> Score:
    try:
        found = scorer.choices(request.context, request.continuations)
    except RowTooLong as error:
        return _over_length(request, error)
    return Score(
        request.id,
        request.tokens,
        loglikelihoods=found.loglikelihoods,
        is_greedy=found.is_greedy,
    )


def _over_length(request: Request, error: RowTooLong) -> Score:
    return Score(request.id, 0, f"over_length: {error.tokens:,} tokens, window of {error.window:,}")


def _longest_first(request: Request) -> tuple[bool, int, str]:
    return isinstance(request, ChoiceRequest), -request.tokens, request.id
