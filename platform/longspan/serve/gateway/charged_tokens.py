"""Tokens that a request costs its key, however it ended.

A client can neither avoid the charge by hanging up, by not streaming, nor by taking many tokens in one event:

- an answer that is complete costs what the engine states;
- otherwise the prompt costs what the engine has stated, or its estimate, and the answer what has been
  stated, and what the engine may have made since;
- a request that the engine refused costs nothing.
"""

from __future__ import annotations

from longspan.serve.gateway.body import Question
from longspan.serve.gateway.errors import Refusal
from longspan.serve.gateway.request_log import RequestLog

MAX_TOKENS_PER_SECOND = 500.0
"""Tokens of one answer that an engine makes in a second, at most."""


def charged_tokens(
    request_log: RequestLog, question: Question | None, complete: bool, refusal: Refusal | None
) -> int:
    """Tokens to charge.

    Args:
        request_log: the request, which is over.
        question: what the engine was asked; None where the request was not let through to it.
        complete: whether the client has the whole answer.
        refusal: the engine's error, if any.
    """
    if question is None or (refusal is not None and refusal.status < 500):
        return 0
    if complete and request_log.prompt_tokens is not None:
        return request_log.tokens
    prompt = (
        question.prompt_tokens if request_log.prompt_tokens is None else request_log.prompt_tokens
    )
    known = request_log.completion_tokens or 0
    made = known + question.num_answers * MAX_TOKENS_PER_SECOND * _seconds_unknown(
        request_log, question
    )
    return prompt + min(int(made), max(question.max_output_tokens(), known))


def _seconds_unknown(request_log: RequestLog, question: Question) -> float:
    """Seconds for which the engine may have made tokens that it has not stated."""
    if request_log.usage_seconds is not None:
        return request_log.elapsed() - request_log.usage_seconds
    # The first event of a stream comes with the first token.
    return 0.0 if question.stream else request_log.elapsed()
