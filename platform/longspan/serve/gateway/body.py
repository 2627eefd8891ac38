"""The body of a request: read within bounds, checked as far as the gateway needs, made ready for the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json
from starlette.types import Receive

from longspan.serve.gateway.answer_size import bound_answer
from longspan.serve.gateway.control_tokens import RENDERED, ControlTokens
from longspan.serve.gateway.errors import Refusal
from longspan.serve.gateway.limits import GatewayLimits
from longspan.serve.gateway.request_bounds import (
    check_best_of,
    check_content,
    check_grammars,
    check_lengths,
    check_names,
    check_template_kwargs,
    has_grammar,
    invalid,
    num_prompts,
    num_token_ids,
)
from longspan.serve.gateway.request_fields import ChatFields, CompletionFields, GenerationFields

BYTES_PER_TOKEN = 4
"""Of English text, about."""
COMPLETION_TOKENS = 16
"""Of an answer of /v1/completions whose request doesn't say; vLLM's default."""
MAX_PARAM = 200


class ClientGone(Exception):
    """The client hung up."""


async def read_body(
    receive: Receive, headers: Mapping[bytes, bytes], limit: int, seconds: float
) -> bytes:
    """All of a request's body.

    Raises:
        Refusal: 413 for more bytes than the limit, by what the headers say or by what arrives; 408
            when it takes longer than so many seconds; 400 for a length that is no number.
        ClientGone: the client hung up before its end.
    """
    declared = headers.get(b"content-length", b"0")
    if not declared.isdigit():
        raise Refusal(400, "Content-Length: must be a number of bytes.", param="content-length")
    if int(declared) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise _too_large(limit)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise Refusal(
            408,
            f"The request's body did not arrive within {seconds:g} seconds.",
            code="request_timeout",
            headers={"connection": "close"},
        ) from None


def _too_large(limit: int) -> Refusal:
    return Refusal(
        413, f"The request's body must not be larger than {limit} bytes.", code="body_too_large"
    )


@dataclass(frozen=True)
class Question:
    """A request for an answer.

    Attributes:
        body: the JSON object for the engine: what was parsed of the client's, and nothing else.
        stream: whether it asks for an event stream.
        wants_usage: whether it asks for the event with the usage at the end of the stream.
        wants_continuous_usage: whether it asks for the usage in every event of it.
        output_tokens: the most tokens that it asks for in one answer; 0 where it doesn't say.
        num_answers: `n` times the number of its prompts.
        answers_per_prompt: `n`.
        prompt_tokens: estimate, of all its prompts.
        window: tokens of the model's window.
        has_grammar: whether its answers have to follow a grammar.
    """

    body: dict[str, Any]
    stream: bool
    wants_usage: bool
    wants_continuous_usage: bool
    output_tokens: int
    num_answers: int
    answers_per_prompt: int
    prompt_tokens: int
    window: int
    has_grammar: bool = False

    def forwarded(self, control_tokens: ControlTokens, cache_salt: str | None = None) -> bytes:
        """The body for the engine; of a stream, every event is asked to carry the usage, to be counted here.

        Args:
            control_tokens: are kept out of the texts of a conversation.
            cache_salt: keeps its prefixes apart in the engine's cache from those with another one.
        """
        more: dict[str, Any] = {}
        if self.stream:
            more["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        if cache_salt:
            more["cache_salt"] = cache_salt
        if "messages" in self.body:
            for name in RENDERED:
                if name in self.body:
                    more[name] = control_tokens.split_all(self.body[name])
        return to_json(self.body | more)

    def reserved_tokens(self, unstated: int) -> int:
        """Tokens that its key is charged while it runs, unless more are known of.

        Args:
            unstated: tokens of an answer whose length the request does not bound.
        """
        each = self.output_tokens or min(unstated, self.window)
        return self.prompt_tokens + self.num_answers * each

    def max_output_tokens(self) -> int:
        """Tokens that the engine may make for it, of all its answers."""
        return self.num_answers * (self.output_tokens or self.window)


def parse(
    data: bytes, limits: GatewayLimits, window: int, fields: type[GenerationFields] = ChatFields
) -> Question:
    """Check a body.

    Args:
        data: what arrived.
        limits: the config's.
        window: tokens of the model's window.
        fields: those of the route.

    Raises:
        Refusal: 400, with the field, its value and what would be right.
    """
    try:
        body = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise invalid(f"The request's body is not JSON in UTF-8: {error}.") from None
    if not isinstance(body, dict):
        raise invalid("The request's body must be a JSON object.")
    check_names(body, fields)
    try:
        asked = fields.model_validate(body)
    except ValidationError as error:
        raise _problem(error) from None
    check_lengths(asked, limits, window)
    check_best_of(body.get("best_of"), asked.n)
    if isinstance(asked, ChatFields):
        check_content(asked)
        check_template_kwargs(asked)
    check_grammars(asked, limits)
    bound_answer(asked, limits, window, len(data))
    return _question(asked, len(data), window)


def _question(asked: GenerationFields, num_bytes: int, window: int) -> Question:
    options = asked.stream_options
    usage = bool(options and options.include_usage)
    output = getattr(asked, "max_completion_tokens", None)
    output = asked.max_tokens if output is None else output
    if output is None and isinstance(asked, CompletionFields):
        output = COMPLETION_TOKENS
    return Question(
        body=asked.model_dump(by_alias=True, exclude_unset=True),
        stream=bool(asked.stream),
        wants_usage=usage,
        wants_continuous_usage=usage and bool(options and options.continuous_usage_stats),
        output_tokens=output or 0,
        num_answers=(asked.n or 1) * num_prompts(asked),
        answers_per_prompt=asked.n or 1,
        prompt_tokens=num_token_ids(asked) or num_bytes // BYTES_PER_TOKEN,
        window=window,
        has_grammar=has_grammar(asked),
    )


def _problem(error: ValidationError) -> Refusal:
    """The first mistake in a body, by the field it is in."""
    problem = error.errors(include_url=False, include_input=False)[0]
    param = ".".join(map(str, problem["loc"]))[:MAX_PARAM]
    return invalid(f"{param}: {problem['msg']}.", param)
