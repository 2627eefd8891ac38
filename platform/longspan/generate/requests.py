"""Requests to a language model, their replies, and what makes the ones and keeps the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, get_args

Row = dict[str, Any]

FailureKind = Literal[
    "no_prompt",  # the prompt can't be made, and nothing is sent
    "over_length",  # prompt and reply do not fit into the window
    "refused",  # the model's side refuses this request, and would again
    "engine_error",  # the engine failed at this request, for another reason than what is in it
    "unanswered",  # no reply this time: busy, unreachable
    "denied",  # no request can be answered: a wrong key, no such model, or another model than expected
]
RETRIED: frozenset[FailureKind] = frozenset({"unanswered", "denied"})
"""Failures that are not recorded: the request is made again when the job is run again."""
TRANSIENT: frozenset[FailureKind] = frozenset({*RETRIED, "engine_error"})
"""Failures that another run may not have, for jobs that make such requests again."""

FinishReason = Literal["stop", "length", ""]
"""Why a reply ended: by itself or at a stop string, at `max_tokens`, or "" if there is no reply."""


@dataclass(frozen=True)
class Sampling:
    """Parameters of generation.

    Attributes:
        max_tokens: most tokens of the reply.
        temperature: 0 takes the likeliest token each time.
        top_p: share of probability that tokens are drawn from.
        stop: strings that end the reply.
        schema: JSON schema, as JSON, that decoding is held to; None is free text.
        include_stop: leave the stop string in the reply. Endpoints never do.
    """

    max_tokens: int
    temperature: float
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    schema: str | None = None
    include_stop: bool = False


@dataclass(frozen=True)
class Request:
    """One prompt, as a user's turn, as token ids, or both.

    A reply is asked for through the chat template (an endpoint's chat API) if there is a user's turn, but an engine
    takes the token ids if they are known. A prompt with known ids is measured: one that does not fit into the window
    is never sent.

    Attributes:
        id: identity; requests that are answered are recorded under it.
        sampling: of the reply.
        seed: of the sampling.
        content: user's turn; "" if the prompt is a text to complete.
        prompt_ids: token ids of the whole prompt; empty if they are not known.
        carry: JSON that the reply brings back.
        problem: why there is no prompt, so that the request fails as "no_prompt" without being sent; "" if there is.
    """

    id: str
    sampling: Sampling
    seed: int
    content: str = ""
    prompt_ids: list[int] = field(default_factory=list)
    carry: str = "{}"
    problem: str = ""

    def row(self) -> Row:
        """Return it as a row of Ray Data."""
        return {**vars(self), "sampling": json.dumps(asdict(self.sampling))}

    @classmethod
    def from_row(cls, row: Row) -> Request:
        """Return the request of a row."""
        values = json.loads(row["sampling"])
        sampling = Sampling(**values | {"stop": tuple(values["stop"])})
        ids = [int(id) for id in row["prompt_ids"]]
        return cls(
            *(row["id"], sampling, int(row["seed"]), row["content"], ids, row["carry"]),
            problem=row["problem"],
        )


@dataclass(frozen=True)
class Failure:
    """Why there is no reply."""

    kind: FailureKind
    message: str


@dataclass(frozen=True)
class Reply:
    """Reply to a request, or why there is none.

    Attributes:
        id: of the request.
        carry: of the request.
        text: reply; "" if there is none.
        finish_reason: see `FinishReason`.
        prompt_tokens: tokens of the prompt; 0 if unknown.
        reply_tokens: tokens of the reply.
        failure: why there is no reply; None if there is one.
        seconds: since the request was handed over.
        engine: report of the engine that answered (`LoadedModel.report`); "" if unknown.
    """

    id: str
    carry: str
    text: str = ""
    finish_reason: FinishReason = ""
    prompt_tokens: int = 0
    reply_tokens: int = 0
    failure: Failure | None = None
    seconds: float = 0.0
    engine: str = ""

    @classmethod
    def failed(cls, request: Request, kind: FailureKind, message: str) -> Reply:
        """Return the outcome of a request without a reply."""
        failure = Failure(kind, message)
        tokens = len(request.prompt_ids)
        return cls(request.id, request.carry, prompt_tokens=tokens, failure=failure)

    def row(self) -> Row:
        """Return it as a row of Ray Data."""
        kind, message = (self.failure.kind, self.failure.message) if self.failure else ("", "")
        return {**vars(self), "failure": kind, "message": message}

    @classmethod
    def from_row(cls, row: Row) -> Reply:
        """Return the reply of a row."""
        kind = next((each for each in get_args(FailureKind) if each == row["failure"]), None)
        failure = Failure(kind, row["message"]) if kind else None
        return cls(
            **{key: row[key] for key in row if key not in ("failure", "message")}, failure=failure
        )


def not_sent(request: Request, window: int | None) -> Failure | None:
    """Return why a request is not sent: it has no prompt, or one that does not fit; None if it is."""
    if request.problem:
        return Failure("no_prompt", request.problem)
    return over_length(request, window)


def over_length(request: Request, window: int | None) -> Failure | None:
    """Return why a prompt can't be sent: it and the longest reply exceed the window; None if they fit.

    A prompt whose token ids are not known is not measured, nor is any against an unknown window.
    """
    tokens, longest = len(request.prompt_ids), request.sampling.max_tokens
    if window is None or not tokens or tokens + longest <= window:
        return None
    return Failure(
        "over_length",
        f"{tokens:,} tokens of prompt and up to {longest:,} of reply are more than the window of {window:,} tokens",
    )


class RequestSource(Protocol):
    """One kind of request: made from items, and turned into a record when replied to."""

    def requests(self, item: Row) -> Iterator[Request]:
        """Yield the requests of one item, in the order in which they are to be sent.

        Items are small: flat rows of text and numbers that say what requests to make. This runs on the cluster.
        """
        ...

    def record(self, reply: Reply) -> Row:
        """Return what is kept of a reply.

        At least `id`, `prompt_tokens`, `reply_tokens`, and `problem`: why it is of no value, "" if it is of value.
        """
        ...


class Responder(Protocol):
    """Answers one request at a time."""

    def respond(self, request: Request) -> Reply:
        """Return the reply, or the outcome of a request without one; raise nothing for what is wrong with it."""
        ...
