"""A small chat service for the page's tests: the page itself, and a model that does as it is told.

The last paragraph of the last message is what it answers, a word at a time, except where that is one of
the instructions of `_answer`.
"""

import asyncio
import json
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from longspan.errors import UserError
from longspan.serve.page import routes as page
from tests.ports import free_ports

KEY = "ls-a-key-for-tests"
MODEL = "org/parrot"
WINDOW = 65_536


class Words:
    """Counts words, and three for each message."""

    model, window = MODEL, WINDOW

    async def count(self, messages: list[dict[str, Any]]) -> int:
        if messages and messages[-1]["role"] != "user":
            raise UserError("conversations end with the user's turn")
        counts = await self.count_texts([message["content"] for message in messages])
        return sum(3 + count for count in counts)

    async def count_texts(self, texts: list[str]) -> list[int]:
        return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


@dataclass
class Seen:
    """What the service was asked, and what became of it."""

    chats: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    hung_up: int = 0
    paths: Counter[str] = field(default_factory=Counter)
    counted: list[int] = field(default_factory=list)
    """Bytes of each request to count tokens."""
    starting: int = 0
    """So many requests are answered as by a service that is not up yet."""


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        address: without a slash at its end.
        key: that it accepts.
        running: the number of answers that it is writing.
    """

    address: str
    key: str
    running: Callable[[], int]


@dataclass(frozen=True)
class Standin(Service):
    """One that tells what it was asked."""

    seen: Seen


@contextmanager
def standin() -> Iterator[Standin]:
    [port] = free_ports(1)
    seen = Seen()
    settings = uvicorn.Config(_app(seen), port=port, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.01)
        yield Standin(f"http://127.0.0.1:{port}", KEY, lambda: seen.running, seen)
    finally:
        server.should_exit = True
        thread.join()


def _app(seen: Seen) -> Any:
    async def chat(request: Request) -> Response:
        body = await request.json()
        seen.chats.append(body)
        text = body["messages"][-1]["content"].rsplit("\n\n", 1)[-1]
        if (
            text == "busy"
            and [asked["messages"] for asked in seen.chats].count(body["messages"]) == 1
        ):
            return _refused(429, "too many requests", {"Retry-After": "1"})
        return StreamingResponse(_stream(text, seen), media_type="text/event-stream")

    app = Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            *page.routes(Words()),
        ]
    )

    async def with_key(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            seen.paths[request.url.path] += 1
            if request.url.path == "/page/tokens":
                seen.counted.append(int(request.headers["content-length"]))
            if request.method == "POST" and request.headers.get("authorization") != f"Bearer {KEY}":
                return await _refused(401, "wrong key")(scope, receive, send)
            if request.method == "POST" and seen.starting:
                seen.starting -= 1
                return await _refused(503, "not up yet")(scope, receive, send)
        await app(scope, receive, send)

    return with_key


def _refused(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    error = {"message": message, "type": "refused", "param": None, "code": None}
    return JSONResponse({"error": error}, status_code=status, headers=headers)


async def _stream(text: str, seen: Seen) -> AsyncIterator[str]:
    seen.running += 1
    tokens = 0
    try:
        async for word in _answer(text):
            tokens += 1
            yield _event(choices=[{"index": 0, "delta": {"content": word}, "finish_reason": None}])
        if text == "broken":
            return
        yield _event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
        yield _event(choices=[], usage={"prompt_tokens": 1, "completion_tokens": tokens})
        yield "data: [DONE]\n\n"
    except asyncio.CancelledError:
        seen.hung_up += 1
        raise
    finally:
        seen.running -= 1


async def _answer(text: str) -> AsyncIterator[str]:
    if text == "endless":
        while True:
            yield "word "
            await asyncio.sleep(0.02)
    if text == "broken":
        yield "Half of an "
        return
    if text == "wait":
        await asyncio.sleep(3600)
    for word in re.findall(r"\S+\s*", text):
        yield word
        await asyncio.sleep(0.002)


def _event(**fields: Any) -> str:
    chunk = {"id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return f"data: {json.dumps(chunk | fields)}\n\n"
