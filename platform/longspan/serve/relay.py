"""A long prompt goes to the replica that has met its beginning: there it is in the cache.

Serve's proxy chooses a replica before it has read a body. So the replica that a request came to looks at
the prompt, and passes it on where it belongs to another one. A prompt's beginning has its place on the
same ring of hashes as a session's id, so that every replica finds the same owner without asking anybody.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from typing import Any

from pydantic_core import from_json
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.util.metrics import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

PATHS = ("/v1/chat/completions", "/v1/completions")
SESSION = b"x-session-id"
PATIENCE_SECONDS = 1.0
"""For the owner, or one of the next on the ring, to have room: a place in the cache is worth less than a wait."""
GRACE_SECONDS = 5.0
CHARACTERS_PER_TOKEN = 4
SENT = ("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "root_path")
SENT += ("query_string", "headers", "client", "server", "extensions")


class Relay:
    """An ASGI app in front of the engine's own."""

    def __init__(
        self, app: ASGIApp, handle: DeploymentHandle, replica: str, characters: int
    ) -> None:
        """Nothing is asked yet.

        Args:
            app: the engine's, in this replica.
            handle: of the method of all replicas that answers for others, see :func:`answers`.
            replica: this one's id.
            characters: of a prompt that decide; one that is shorter stays, and so does a session's, which
                the proxy has brought to its place.
        """
        self._app, self._handle, self._replica = app, handle, replica
        self._characters = characters
        self._moved = Counter(
            "longspan_serve_prefix_forwarded_requests",
            "Requests passed on to the replica that has their beginning.",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        stays = scope["type"] != "http" or scope["path"] not in PATHS
        if stays or any(name == SESSION for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        request = await receive()
        body = request.get("body", b"")
        place = beginning(body, self._characters)
        if place and await self._forward(place, scope, body, receive, send):
            return
        unread: list[Message] = [request]

        async def again() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, again, send)

    async def _forward(
        self, place: str, scope: Scope, body: bytes, receive: Receive, send: Send
    ) -> bool:
        """Let the owner answer; False where that is this replica, or there is none that can."""
        handle, began = self._handle.options(session_id=place), False
        try:
            async with (
                asyncio.timeout(PATIENCE_SECONDS) as patience,
                handle.choose_replica() as one,
            ):
                if one.replica_id == self._replica:
                    return False
                patience.reschedule(None)
                sent = {name: scope[name] for name in SENT if name in scope}
                answer = handle.dispatch(one, sent, body)
                async with aclosing(_messages(answer, receive)) as messages:
                    async for message in messages:
                        if not began:
                            self._moved.inc()
                        began = True
                        await send(message)
        except (TimeoutError, RayError, RayServeException) as error:
            if began:
                raise
            log.warning("no other replica answers a request, this one does: %s", error)
            return False
        return True


async def _messages(answer: Any, receive: Receive) -> AsyncGenerator[Message]:
    """What another replica answers; it is told to stop when the client is gone, or nobody listens."""

    def stop(_: object = None) -> None:
        answer.cancel()

    gone = asyncio.ensure_future(receive())
    gone.add_done_callback(stop)
    try:
        async for messages in answer:
            for message in messages:
                yield message
    except (RayError, RayServeException):
        if not gone.done():
            raise
    except (GeneratorExit, asyncio.CancelledError):
        stop()
        raise
    finally:
        gone.remove_done_callback(stop)
        gone.cancel()


async def answers(
    app: ASGIApp, scope: Scope, body: bytes, seconds: float
) -> AsyncGenerator[list[Message]]:
    """An app's answer to a request that came to another replica, as many messages at a time as there are.

    Args:
        app: the engine's.
        scope: as the other replica has it.
        body: the same.
        seconds: after which the app is told that nobody listens, for that replica may be dead.
    """
    ready: asyncio.Queue[Message | None] = asyncio.Queue()
    unread, over = [body], asyncio.Event()
    limit = asyncio.get_running_loop().call_later(seconds, over.set)

    async def receive() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await over.wait()
        return {"type": "http.disconnect"}

    async def run() -> None:
        try:
            await app(scope, receive, ready.put)
        finally:
            ready.put_nowait(None)

    running = asyncio.create_task(run())
    try:
        while True:
            messages = [await ready.get(), *_at_hand(ready)]
            if whole := [message for message in messages if message is not None]:
                yield whole
            if messages[-1] is None:
                await running
                return
    finally:
        limit.cancel()
        # vLLM's app frees a request when it hears of the client's end, and not always when it is cancelled.
        over.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await asyncio.wait({running})
        running.cancel()


def _at_hand(ready: asyncio.Queue[Message | None]) -> Iterator[Message | None]:
    while not ready.empty():
        yield ready.get_nowait()


def beginning(body: bytes, characters: int) -> str | None:
    """A hash of a prompt's first characters; None where there are fewer, or no such prompt.

    Args:
        body: a request's JSON; what is wrong with it is for the engine to say.
        characters: how many, with four to a token where the prompt is one of tokens; 0 for none.
    """
    if not characters or len(body) < characters // 2:  # Of token ids it takes half as many bytes.
        return None
    try:
        asked = from_json(body)
    except ValueError:
        return None
    # Prompts with another salt share nothing in the cache: they need not meet.
    salt = f"{asked.get('cache_salt')}\0" if isinstance(asked, dict) else ""
    text = ""
    for part in _parts(asked if isinstance(asked, dict) else {}, characters):
        text += part
        if len(text) >= characters:
            return _hash(salt + text[:characters])
    return None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _parts(asked: dict[str, Any], characters: int) -> Iterator[str]:
    """A prompt's text, piece by piece; of token ids each stands for four characters."""
    prompt = asked.get("prompt")
    if isinstance(prompt, str):
        yield prompt
    elif isinstance(prompt, list):
        first = prompt[: -(-characters // CHARACTERS_PER_TOKEN)]
        if all(type(token) is int for token in first):
            yield "".join(f"{token & 0xFFFF:04x}" for token in first)
    messages = asked.get("messages")
    for message in messages if isinstance(messages, list) else []:
        if not isinstance(message, dict):
            return
        content = message.get("content")
        yield f"\0{message.get('role')}\0"
        for piece in content if isinstance(content, list) else [{"text": content}]:
            if isinstance(piece, dict) and isinstance(piece.get("text"), str):
                yield piece["text"]
