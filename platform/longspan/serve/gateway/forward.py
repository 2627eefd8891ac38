"""One call of the inner app, and its end."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Scope

from longspan.serve.gateway.body import ClientGone
from longspan.serve.gateway.client_connection import ClientConnection
from longspan.serve.gateway.errors import Refusal
from longspan.serve.gateway.limits import GatewayLimits
from longspan.serve.gateway.reply import Reply


async def forward(
    app: ASGIApp, scope: Scope, line: ClientConnection, reply: Reply, limits: GatewayLimits
) -> None:
    """Let the inner app answer; returns when it has, or when the error to be reshaped is there.

    However this ends, the inner app has ended too. It is told by `http.disconnect` before it is
    cancelled: vLLM's app frees a request on the former, not always on the latter.

    Args:
        app: the inner app.
        scope: of the request.
        line: the request.
        reply: the answer.
        limits: how long it may take, and take to end.

    Raises:
        ClientGone: the client hung up.
        Refusal: 504 when the time is over.
        RuntimeError: the app left its answer unfinished. What it raises itself passes too.
    """
    seconds = limits.request_seconds
    inner = asyncio.create_task(_run(app, scope, line, reply))
    watch = asyncio.create_task(line.until_gone())
    try:
        done, _ = await asyncio.wait(
            {inner, watch}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if watch in done and not reply.complete:
            raise ClientGone
        if inner in done:
            _check(inner, reply)
        elif not done:
            reply.request_log.ended = "time limit"
            raise Refusal(
                504,
                f"The answer took longer than the {seconds:g} seconds that it may take.",
                code="time_limit",
            )
    finally:
        reply.close()
        line.hang_up()
        watch.cancel()
        await _end(inner, limits.grace_seconds)
        await asyncio.gather(inner, watch, return_exceptions=True)


async def _run(app: ASGIApp, scope: Scope, line: ClientConnection, reply: Reply) -> None:
    await app(scope, line.receive, reply.send)


def _check(inner: asyncio.Task[None], reply: Reply) -> None:
    if not inner.cancelled():
        inner.result()
    if not reply.complete and reply.refusal is None:
        raise RuntimeError("the app left its answer unfinished")


async def _end(inner: asyncio.Task[None], grace_seconds: float) -> None:
    if not inner.done():
        await asyncio.wait({inner}, timeout=grace_seconds)
    inner.cancel()
