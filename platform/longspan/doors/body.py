"""The body of a request: read within bounds, checked as far as the doors care, made ready for the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json, to_json
from starlette.types import Receive

from longspan.doors.errors import Refusal
from longspan.doors.limits import DoorLimits


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


class _StreamOptions(BaseModel):
    include_usage: bool | None = None


class _Asked(BaseModel):
    """The fields that the doors look at, with the conversions that the engine makes of them.

    ("n": "3" is 3 there, so it is here. What the engine alone cares about it checks itself.)
    """

    model: str = Field(min_length=1)
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    best_of: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    prompt: Any = None


@dataclass(frozen=True)
class Question:
    """A request for an answer.

    Attributes:
        body: the JSON object.
        stream: whether it asks for an event stream.
        wants_usage: whether it asks for the event with the usage at the end of the stream.
        output_tokens: the most tokens it asks for; 0 where it doesn't say.
    """

    body: dict[str, Any]
    stream: bool
    wants_usage: bool
    output_tokens: int

    def forwarded(self) -> bytes:
        """The body for the engine; one of a stream asks for the usage, to be counted here."""
        if not self.stream or self.wants_usage:
            return to_json(self.body)
        options = {"include_usage": True, "continuous_usage_stats": False}
        given = self.body.get("stream_options") or {}
        return to_json(self.body | {"stream_options": given | options})


def parse(data: bytes, limits: DoorLimits, window: int) -> Question:
    """Check a body.

    Args:
        data: what arrived.
        limits: the doors'.
        window: tokens of the model's.

    Raises:
        Refusal: 400, with the field, its value and what would be right.
    """
    try:
        body = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise _invalid(f"The request's body is not JSON in UTF-8: {error}.") from None
    if not isinstance(body, dict):
        raise _invalid("The request's body must be a JSON object.")
    try:
        asked = _Asked.model_validate(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(map(str, problem["loc"]))
        raise _invalid(f"{param}: {problem['msg']}.", param) from None
    limit = limits.max_output_tokens or window
    for name in ("max_tokens", "max_completion_tokens"):
        _check(name, getattr(asked, name), 0, limit, "tokens")
    for name in ("n", "best_of"):
        _check(name, getattr(asked, name), 1, limits.max_sequences, "answers")
    _check_sequences(asked, limits.max_sequences)
    given = asked.stream_options
    output = asked.max_completion_tokens
    return Question(
        body=body,
        stream=bool(asked.stream),
        wants_usage=bool(given and given.include_usage),
        output_tokens=(asked.max_tokens if output is None else output) or 0,
    )


def _check(name: str, value: int | None, least: int, most: int, unit: str) -> None:
    if value is not None and not least <= value <= most:
        shown = str(value) if abs(value) < 10**20 else "a number of more than 20 digits"
        raise _invalid(f"{name}: must be {least} to {most} {unit}, not {shown}.", name)


def _check_sequences(asked: _Asked, most: int) -> None:
    several = isinstance(asked.prompt, list) and not all(type(t) is int for t in asked.prompt)
    prompts = len(asked.prompt) if several else 1
    answers = max(asked.n or 1, asked.best_of or 1)
    if prompts * answers > most:
        raise _invalid(
            f"prompt: {prompts} prompts with {answers} answers each are more than the {most} "
            "answers that one request may ask for.",
            "prompt",
        )


def _invalid(message: str, param: str | None = None) -> Refusal:
    return Refusal(400, message, param=param)
