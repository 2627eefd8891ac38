"""The log entry of one request: what happened, never its content."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Ending = Literal["done", "refused", "error", "client gone", "time limit"]

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


@dataclass
class RequestLog:
    """One request and its answer.

    Attributes:
        request_id: the client's or the proxy's X-Request-ID where it is sane, else one made here.
        own_id: whether it was made here.
        method: of HTTP.
        path: without the query.
        client: the address of the other end, which may be a proxy's.
        route: the path's label (see `routes`), "other" for a path that is not served.
        key: the name of the key, "" where there was none.
        status: of the response; 0 where none was sent.
        stream: whether an event stream was asked for.
        ended: how. "error" is a failure of the service, "refused" any other error.
        bytes_in: of the body that was read.
        bytes_out: of the bodies sent.
        prompt_tokens: as the engine counted them; None where it didn't say.
        completion_tokens: the same.
        usage_seconds: from the request's arrival to when the engine stated tokens last; None where it
            has not.
        began: seconds since 1970.
        seconds: from the request's arrival to its end.
        first_byte_seconds: to the first byte of the answer's body; None where there was none.
    """

    request_id: str
    own_id: bool
    method: str
    path: str
    client: str
    route: str = "other"
    key: str = ""
    status: int = 0
    stream: bool = False
    ended: Ending = "done"
    bytes_in: int = 0
    bytes_out: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    usage_seconds: float | None = None
    began: float = field(default_factory=time.time)
    seconds: float = 0.0
    first_byte_seconds: float | None = None
    _started: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> RequestLog:
        """A visit that begins now."""
        given = headers.get(b"x-request-id", b"")
        sane = _SANE_ID.fullmatch(given) is not None
        return cls(
            request_id=given.decode() if sane else secrets.token_hex(16),
            own_id=not sane,
            method=scope["method"],
            path=scope["path"],
            client=(scope.get("client") or ("",))[0],
        )

    @property
    def tokens(self) -> int:
        """Tokens of prompt and answer that are known of."""
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)

    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._started

    def used(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Take the tokens so far, as the engine states them."""
        self.prompt_tokens, self.completion_tokens = prompt_tokens, completion_tokens
        self.usage_seconds = self.elapsed()


class Observer(Protocol):
    """Takes visits when they are over; in the event loop, so it must not wait for anything."""

    def record(self, request_log: RequestLog) -> None:
        """Take one visit."""
        ...
