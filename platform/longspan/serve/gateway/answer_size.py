"""Bounds of an answer's size where it holds more than its text: log probabilities, and the prompt again.

The engine makes an answer that is no stream in one piece, on the event loop that serves everybody, and
repeats all of a prompt's values in each of its answers.
"""

from __future__ import annotations

from longspan.serve.gateway.limits import GatewayLimits
from longspan.serve.gateway.request_bounds import check_range, invalid, num_prompts, num_token_ids
from longspan.serve.gateway.request_fields import ChatFields, GenerationFields

UNIT = "values per token"


def output_logprobs(fields: GenerationFields) -> int:
    """Log probabilities of each token of an answer, its own among them; 0 for none."""
    if isinstance(fields, ChatFields):
        asked = (fields.top_logprobs or 0) if fields.logprobs else None
    else:
        asked = getattr(fields, "logprobs", None)
    if asked is None:
        return 0
    return 1 + max(asked, len(fields.logprob_token_ids or ()))


def prompt_logprobs(fields: GenerationFields) -> int:
    """Log probabilities of each token of a prompt, its own among them; 0 for none. `echo` asks for them too."""
    asked = fields.prompt_logprobs
    if asked is None and getattr(fields, "echo", False):
        chat = isinstance(fields, ChatFields)
        asked = fields.top_logprobs if chat else getattr(fields, "logprobs", None)
    return 0 if asked is None else 1 + asked


def bound_answer(
    fields: GenerationFields, limits: GatewayLimits, window: int, num_bytes: int
) -> None:
    """Check what an answer may hold, and bound its tokens where it has log probabilities and no `max_tokens`.

    Args:
        fields: the request; `max_tokens` may be set.
        limits: the config's.
        window: tokens of the model's window.
        num_bytes: size of the request's body, which the prompt is a part of.

    Raises:
        Refusal: 400, with the field.
    """
    _check_values(fields, limits)
    answers = (fields.n or 1) * num_prompts(fields)
    copied = getattr(fields, "echo", False) or fields.return_token_ids
    if copied and answers > 1 and answers * num_bytes > limits.body_bytes(window):
        name = "echo" if getattr(fields, "echo", False) else "return_token_ids"
        raise invalid(
            f"{name}: {answers} answers would repeat a prompt this long; send n: 1.", name
        )
    # Of a text, each token takes a byte at least.
    tokens = min(num_token_ids(fields) or num_bytes, num_prompts(fields) * window)
    prompt = (fields.n or 1) * tokens * prompt_logprobs(fields)
    each = answers * output_logprobs(fields)
    room = limits.max_logprob_values - prompt
    if prompt and room < 0:
        raise invalid(
            f"prompt_logprobs: up to {prompt} values in all are more than "
            f"{limits.max_logprob_values}; send a shorter prompt, or fewer of n.",
            "prompt_logprobs",
        )
    if not each:
        return
    most = room // each
    stated = _stated(fields)
    if stated is None and isinstance(fields, ChatFields) and most < window:
        fields.max_completion_tokens = max(1, most)
    elif stated is not None and stated > most:
        raise invalid(
            f"max_tokens: {stated} tokens with {each} log probabilities each are more than "
            f"{limits.max_logprob_values} in all; send {max(0, most)} or less, or fewer logprobs.",
            "max_tokens",
        )


def _stated(fields: GenerationFields) -> int | None:
    """Tokens that a request allows an answer, where it says so."""
    if isinstance(fields, ChatFields) and fields.max_completion_tokens is not None:
        return fields.max_completion_tokens
    return fields.max_tokens


def _check_values(fields: GenerationFields, limits: GatewayLimits) -> None:
    if isinstance(fields, ChatFields):
        if fields.echo and not fields.logprobs:
            # Else the engine takes `echo` for a wish for the prompt's log probabilities.
            fields.top_logprobs = None
        check_range("top_logprobs", fields.top_logprobs, 0, limits.max_logprobs, UNIT)
    else:
        check_range("logprobs", getattr(fields, "logprobs", None), 0, limits.max_logprobs, UNIT)
    ids = len(fields.logprob_token_ids or ())
    check_range("logprob_token_ids", ids, 0, limits.max_logprobs, UNIT)
    check_range("prompt_logprobs", fields.prompt_logprobs, 0, limits.max_logprobs, UNIT)
    asked = prompt_logprobs(fields)
    most = limits.max_prompt_logprobs
    if asked and not (most and asked - 1 <= most):
        name = "prompt_logprobs" if fields.prompt_logprobs is not None else "echo"
        served = f"at most {most} log probabilities" if most else "no log probabilities"
        raise invalid(
            f"{name}: {served} of a prompt are served; leave it out, or ask whoever runs the service "
            "to raise limits.max_prompt_logprobs.",
            name,
        )
