"""Errors in the shape that OpenAI's API gives them, and the refusals of the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic_core import from_json, to_json

MAX_MESSAGE = 2000
"""Characters; a validation error may quote a whole prompt."""

REQUEST_FAILED = "Internal server error"
"""vLLM's words for a request that the engine gave up."""

CONTEXT_LENGTH = "context_length_exceeded"
"""OpenAI's code for a prompt that is too long."""


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: the HTTP status, 400 to 599.
        message: one sentence for a person: what is wrong, the value found, what would be right.
        code: a word for programs, OpenAI's where it has one.
        param: the field of the body that is meant.
        headers: more headers of the response, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """``{"error": {"message", "type", "param", "code"}}`` as JSON."""
        error = {
            "message": self.message,
            "type": _type(self.status),
            "param": self.param,
            "code": self.code,
        }
        return to_json({"error": error})

    def event(self) -> bytes:
        """The same as an event of a stream; OpenAI's clients raise when they meet it."""
        return b"data: " + self.body() + b"\n\n"


def _type(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def refusal_of(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> Refusal:
    """What the inner app answered with an error status, whatever its shape, as a refusal.

    Known are OpenAI's shape (with vLLM's numbers for codes) and FastAPI's ``{"detail": ...}``. Of
    anything else, such as a page with a traceback, only the status is told.
    """
    kept = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in headers
        if name.lower() in (b"retry-after", b"allow")
    }
    try:
        answer = from_json(body)
    except ValueError:
        answer = None
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        message, param = error["message"], error.get("param")
    else:
        detail = answer.get("detail") if isinstance(answer, dict) else None
        message, param = _detail(detail) or HTTPStatus(status).phrase, None
        error = {}
    return Refusal(
        status,
        message[:MAX_MESSAGE],
        code=_code(status, message, error.get("code")),
        param=param if isinstance(param, str) else None,
        headers=kept,
    )


def of_grammar(refusal: Refusal) -> Refusal:
    """The answer to a request with a grammar, where the engine gave the request up.

    vLLM fails a request by itself only where it cannot compile the grammar or go on in it, and does
    not say which grammar that is.
    """
    if (refusal.status, refusal.message) != (500, REQUEST_FAILED):
        return refusal
    return Refusal(
        400,
        "No answer could follow the grammar of this request: the engine could not build it, or no token "
        "may follow in it; change response_format, structured_outputs or tools.",
        code="invalid_grammar",
    )


def _detail(detail: Any) -> str | None:
    """FastAPI's words: a sentence, or a list of what is wrong with which field."""
    if isinstance(detail, str):
        return detail
    if not isinstance(detail, list):
        return None
    problems = [item for item in detail if isinstance(item, dict)]
    return "; ".join(
        f"{'.'.join(map(str, item.get('loc', ())))}: {item.get('msg')}" for item in problems
    )


def _code(status: int, message: str, code: Any) -> str | None:
    """OpenAI's word for what vLLM says in a sentence, because clients act on it."""
    if isinstance(code, str):
        return code
    if status == HTTPStatus.BAD_REQUEST and "maximum context length" in message:
        return CONTEXT_LENGTH
    if status == HTTPStatus.NOT_FOUND and "model" in message:
        return "model_not_found"
    return None
