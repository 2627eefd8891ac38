"""Gateway between the socket and the engine's app: authentication, admission, validation and limits.

``Gateway`` is an ASGI app around another. A request passes, in this order:

1. the paths that are served (`routes`): 404, 405; no websockets;
2. the API key (`keyring`): 401;
3. the limits of the key and the capacity of the replica (`admission`): 429, 503;
4. its body, in time, not too large, JSON of known fields within bounds (`body`): 408, 413, 400;
5. the inner app, which sees a fixed set of headers and never a key, and is told at once when the
   client hangs up or the time is over (`client_connection`).

The answer passes back (`reply`): errors in OpenAI's shape, a stream's chunks as they come, tokens
counted (`usage`) and charged (`charged_tokens`). At the end the request's entry goes to the access log and the
metrics. All of it is plain ASGI: a streamed chunk costs a few function calls and a search for a few bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from longspan.serve.gateway.access_log import AccessLog
from longspan.serve.gateway.admission import Admission, Room, TokenUsage
from longspan.serve.gateway.body import ClientGone, Question, parse, read_body
from longspan.serve.gateway.charged_tokens import charged_tokens
from longspan.serve.gateway.client_connection import ClientConnection
from longspan.serve.gateway.control_tokens import ControlTokens
from longspan.serve.gateway.errors import CONTEXT_LENGTH, Refusal, of_grammar
from longspan.serve.gateway.forward import forward
from longspan.serve.gateway.keys import Key
from longspan.serve.gateway.limits import GatewayLimits
from longspan.serve.gateway.reply import Reply
from longspan.serve.gateway.request_fields import ChatFields, CompletionFields, GenerationFields
from longspan.serve.gateway.request_log import Observer, RequestLog
from longspan.serve.gateway.routes import TEXT, Route, route_of
from longspan.serve.gateway.uploads import Uploads
from longspan.serve.gateway.usage import usage_reader

log = logging.getLogger(__name__)

FORWARDED = frozenset(
    b"accept accept-encoding accept-language content-type host if-modified-since if-none-match "
    b"if-range range traceparent tracestate user-agent x-session-id".split()
)
"""Headers that the inner app sees. Not the key; no Origin, so that it opens nothing to other sites."""

FIELDS: Mapping[str, type[GenerationFields]] = {
    "/v1/chat/completions": ChatFields,
    "/v1/completions": CompletionFields,
}
"""Fields of a body, by route."""


class Keys(Protocol):
    """Finds keys; `KeyRing` does."""

    def find(self, token: bytes) -> Key | None:
        """The key that a client sent, or None.

        Raises:
            Refusal: 503 where the keys are not known well enough.
        """
        ...


class Gateway:
    """An ASGI app in front of another, as the module says.

    Args:
        app: the inner app; it serves all the routes, and gets what is let through, with paths below
            where the app is mounted. Lifespan events are passed on as they are.
        keys: the keys that are let in.
        window: tokens of the model's window.
        limits: what is let through.
        admission: holds keys to their limits.
        room: that of the replica, where something else takes of it too.
        observers: are told of every visit.
        count: the tokens of a prompt, given the request's body. Asked only when the engine refused a
            prompt as too long without saying how long it is.
        control_tokens: are kept out of the texts of conversations.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        window: int,
        limits: GatewayLimits | None = None,
        admission: Admission | None = None,
        room: Room | None = None,
        observers: Sequence[Observer] | None = None,
        count: Callable[[dict[str, Any]], Awaitable[int]] | None = None,
        control_tokens: ControlTokens | None = None,
    ) -> None:
        self._app = app
        self._keys = keys
        self._window = window
        self._limits = limits or GatewayLimits()
        self._admission = admission or Admission()
        self._room = room or Room(self._limits.max_requests, self._limits.max_key_share)
        self._uploads = Uploads()
        self._observers = (AccessLog(),) if observers is None else tuple(observers)
        self._count = count
        self._control_tokens = control_tokens or ControlTokens()
        self._entrance: ASGIApp = self._visit
        if self._limits.allow_origins:
            self._entrance = CORSMiddleware(
                self._visit,
                allow_origins=self._limits.allow_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["retry-after", "x-request-id"],
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            await self._entrance(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _visit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, whatever becomes of it."""
        headers = dict(scope["headers"])
        request_log = RequestLog.of(scope, headers)
        reply = Reply(send, request_log)
        try:
            await self._answer(_Request(scope, headers, receive, request_log), reply)
        except ClientGone:
            request_log.ended = "client gone"
        except asyncio.CancelledError:
            # So Ray Serve tells it; uvicorn doesn't.
            request_log.ended = "client gone"
            raise
        except Exception as error:
            refusal = _refusal(error, request_log)
            # A client that reads nothing must not keep its request open.
            async with asyncio.timeout(self._limits.grace_seconds):
                await reply.refuse(refusal)
        finally:
            request_log.seconds = request_log.elapsed()
            for observer in self._observers:
                observer.record(request_log)

    async def _answer(self, request: _Request, reply: Reply) -> None:
        route, path = route_of(request.scope)
        request.request_log.route = route.label
        if not route.keyed:
            await self._forward(request, path, b"", reply)
            return
        reply.reshapes = True
        key = self._key(request.headers)
        request.request_log.key = key.name
        if route.generates:
            async with self._admission.admit(key) as usage:
                with self._room.taken(key.name):
                    await self._generate(_Admitted(request, route, path, key, usage), reply)
        elif "POST" in route.methods:
            upload = self._uploads.admit(key.name) if route.label == TEXT else nullcontext()
            with self._admission.admit_auxiliary(key), self._room.taken(key.name), upload:
                await self._forward(request, path, await self._body(request, route), reply)
        else:
            await self._forward(request, path, b"", reply)
        if reply.refusal is not None:
            raise reply.refusal

    async def _generate(self, admitted: _Admitted, reply: Reply) -> None:
        """An answer of the model, its tokens reserved, counted and charged."""
        request, usage, request_log = admitted.request, admitted.usage, admitted.request.request_log
        question = None
        try:
            data = await self._body(request, admitted.route)
            question = parse(data, self._limits, self._window, FIELDS[admitted.route.label])
            request_log.stream = question.stream
            usage.reserved = question.reserved_tokens(self._limits.reserved_answer_tokens)
            usage.known = lambda: request_log.tokens
            reply.usage = usage_reader(request_log, question)
            salt = self._cache_salt(admitted.key, question)
            body = question.forwarded(self._control_tokens, salt)
            await self._forward(request, admitted.path, body, reply)
        finally:
            usage.charged = charged_tokens(request_log, question, reply.complete, reply.refusal)
        if reply.refusal is not None:
            refusal = of_grammar(reply.refusal) if question.has_grammar else reply.refusal
            raise await self._with_numbers(refusal, question)

    def _cache_salt(self, key: Key, question: Question) -> str | None:
        """A salt for the prefixes of a key, which others cannot guess; what the client sends makes a finer one."""
        if self._limits.share_prefix_cache:
            return None
        given = question.body.get("cache_salt") or ""
        return hashlib.sha256(f"prefix cache {key.sha256} {given}".encode()).hexdigest()

    def _key(self, headers: Mapping[bytes, bytes]) -> Key:
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        challenge = {"www-authenticate": "Bearer"}
        if scheme.lower() != b"bearer" or not token.strip():
            message = "An API key is needed: send the header 'Authorization: Bearer ls-...'."
            raise Refusal(401, message, code="missing_api_key", headers=challenge)
        key = self._keys.find(token.strip())
        if key is None:
            message = "The API key is not known here; it may have been revoked."
            raise Refusal(401, message, code="invalid_api_key", headers=challenge)
        return key

    async def _body(self, request: _Request, route: Route) -> bytes:
        limits = self._limits
        of_document = route.label == TEXT
        limit = limits.max_document_bytes if of_document else limits.body_bytes(self._window)
        body = await read_body(request.receive, request.headers, limit, limits.body_seconds)
        request.request_log.bytes_in = len(body)
        return body

    async def _forward(self, request: _Request, path: str, body: bytes, reply: Reply) -> None:
        scope = request.inner_scope(path, len(body))
        connection = ClientConnection(request.receive, body)
        await forward(self._app, scope, connection, reply, self._limits)

    async def _with_numbers(self, refusal: Refusal, question: Question) -> Refusal:
        """A prompt that is too long, with its length.

        The engine stops counting where the prompt stops fitting in, and says "at least", or counts
        characters.
        """
        if refusal.code != CONTEXT_LENGTH or self._count is None:
            return refusal
        try:
            tokens = await self._count(question.body)
        except Exception:  # The engine has taken what the count can't: its word is enough.
            log.warning("a prompt that is too long could not be counted", exc_info=True)
            return refusal
        total = tokens + question.output_tokens
        if total <= self._window:
            return refusal
        more = f" and {question.output_tokens} more are asked for, {total} in all"
        return Refusal(
            refusal.status,
            f"This model's maximum context length is {self._window} tokens. The prompt has {tokens} "
            f"tokens{more if question.output_tokens else ''}: {total - self._window} too many.",
            code=refusal.code,
            param=refusal.param,
        )


def _refusal(error: Exception, request_log: RequestLog) -> Refusal:
    """The answer to a request that ended with an error; one that is ours is logged."""
    if not isinstance(error, Refusal):
        log.error("request %s failed", request_log.request_id, exc_info=error)
        error = Refusal(500, "The service failed to answer.", code="internal_error")
    if request_log.ended == "done":
        request_log.ended = "error" if error.status in (500, 502, 504) else "refused"
    return error


@dataclass(frozen=True)
class _Request:
    """A request as it came."""

    scope: Scope
    headers: Mapping[bytes, bytes]
    receive: Receive
    request_log: RequestLog

    def inner_scope(self, path: str, length: int) -> Scope:
        """The scope for the inner app, which thus sees the very path that was let through."""
        headers = [(name, value) for name, value in self.headers.items() if name in FORWARDED]
        headers.append((b"content-length", b"%d" % length))
        headers.append((b"x-request-id", self.request_log.request_id.encode()))
        return {
            **self.scope,
            # From 2.4 on, Starlette would learn that a client is gone from failing sends alone.
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "path": path,
            "raw_path": quote(path).encode(),
            "root_path": "",
            "headers": headers,
            "extensions": {},
            # For what keys share; the page's routes read it.
            "longspan.key_name": self.request_log.key,
        }


@dataclass(frozen=True)
class _Admitted:
    """A request for an answer that was let in."""

    request: _Request
    route: Route
    path: str
    key: Key
    usage: TokenUsage
