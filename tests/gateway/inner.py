"""An app behind the gateway: speaks as vLLM does where the gateway listen, and notes what reaches it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

WINDOW = 1000
USAGE = {"prompt_tokens": 7, "total_tokens": 10, "completion_tokens": 3}


class Inner:
    """What the last message says is what happens."""

    def __init__(self) -> None:
        self.reached: list[Request] = []
        self.bodies: list[dict[str, Any]] = []
        self.generating = 0
        """Requests that the engine works on."""
        self.app = FastAPI()
        self.app.add_middleware(CORSMiddleware, allow_origins=["*"])
        self.app.add_api_route("/{path:path}", self.anything, methods=["GET", "HEAD", "POST"])

    async def anything(self, request: Request, path: str) -> Response:
        self.reached.append(request)
        if path not in ("v1/chat/completions", "v1/completions"):
            headers = {"server": "inner", "x-request-id": "inner"}
            return PlainTextResponse(await request.body() or b"hello", headers=headers)
        body = await request.json()
        self.bodies.append(body)
        mood = body["messages"][-1]["content"] if body.get("messages") else ""
        if isinstance(mood, str) and mood in _ERRORS:
            return _ERRORS[mood]
        if mood == "detail":
            raise HTTPException(422, "Not so.")
        if mood == "details":
            raise HTTPException(422, [{"loc": ["body", "top_p"], "msg": "too high"}])
        if mood == "raise":
            raise RuntimeError("a secret of the machine")
        if body.get("stream"):
            assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
            events = self.events(mood, body.get("n", 1))
            return StreamingResponse(events, media_type="text/event-stream")
        if mood == "endless":
            return await self.cancelled_by_disconnect(request)
        if mood == "deaf":
            await self.endless()
        with self.working():
            return JSONResponse(chunk(usage=USAGE, choices=[{"message": {"content": "a b c"}}]))

    async def events(self, mood: str, n: int) -> AsyncIterator[str]:
        with self.working():
            for number, word in enumerate(("a", "b", 'c "choices":[] "usage":{')):
                for index in range(n):
                    choice = {"index": index, "delta": {"content": word}}
                    yield event(chunk(choices=[choice], usage=usage(number + 1), prompt_text=None))
            if mood == "engine error":
                yield event({"error": {"message": "out of memory", "code": 500}})
                return
            while mood == "flood":
                yield ": " + "x" * 2**20 + "\n\n"
            if mood == "raise in the middle":
                raise RuntimeError("a secret of the machine")
            tokens = 3
            while mood == "endless":
                await asyncio.sleep(0.01)
                tokens += 1000
                choice = {"index": 0, "delta": {"content": "x"}}
                yield event(chunk(choices=[choice], usage=usage(tokens)))
            yield event(chunk(choices=[], usage=usage(3 * n)))
            yield "data: [DONE]\n\n"

    async def cancelled_by_disconnect(self, request: Request) -> Response:
        """Works in a task that goes on when this call is cancelled, as vLLM's does."""
        work = asyncio.create_task(self.endless())
        news = asyncio.create_task(until_disconnect(request))
        await asyncio.wait({work, news}, return_when=asyncio.FIRST_COMPLETED)
        work.cancel()
        return JSONResponse(None)

    async def endless(self) -> None:
        with self.working():
            await asyncio.Event().wait()

    @contextmanager
    def working(self) -> Iterator[None]:
        self.generating += 1
        try:
            yield
        finally:
            self.generating -= 1


async def until_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def usage(completion_tokens: int) -> dict[str, Any]:
    """The usage in an event, as vLLM's chat writes it."""
    return {
        "prompt_tokens": 7,
        "total_tokens": 7 + completion_tokens,
        "completion_tokens": completion_tokens,
        "completion_tokens_details": None,
    }


def chunk(**more: Any) -> dict[str, Any]:
    return {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"} | more


def event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"


def _vllm(status: int, message: str, param: str | None = None) -> JSONResponse:
    error = {"message": message, "type": "BadRequestError", "param": param, "code": status}
    return JSONResponse({"error": error}, status_code=status)


TOO_LONG = (
    "This model's maximum context length is 1000 tokens. However, you requested 16 output tokens "
    "and your prompt contains at least 985 input tokens, for a total of at least 1001 tokens. "
    "Please reduce the length of the input prompt or the number of requested output tokens."
)
_ERRORS = {
    "unknown model": _vllm(404, "The model `x` does not exist.", "model"),
    "too long": _vllm(400, TOO_LONG, "input_tokens"),
    "given up": _vllm(500, "Internal server error"),
    "wordy": _vllm(400, "x" * 5000),
    "text": PlainTextResponse("Traceback: /root/secret.py", status_code=500),
}
