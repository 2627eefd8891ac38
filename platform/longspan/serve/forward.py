"""One call of the inner app, and its end."""

from __future__ import annotations

import asyncio
import logging

from starlette.types import ASGIApp, Scope

from longspan.serve.body import ClientGone
from longspan.serve.errors import Refusal
from longspan.serve.line import Line
from longspan.serve.reply import Reply

log = logging.getLogger(__name__)

GRACE_SECONDS = 2.0
"""For the inner app to end by itself once it was told that the client is gone."""


async def forward(app: ASGIApp, scope: Scope, line: Line, reply: Reply, seconds: float) -> None:
    """Let the inner app answer; returns when it has, or when the error to be reshaped is there.

    However this ends, the inner app has ended too. It is told by `http.disconnect` before it is
    cancelled: vLLM's app frees a request on the former, not always on the latter.

    Args:
        app: the inner app.
        scope: of the request.
        line: the request.
        reply: the answer.
        seconds: the most it may take.

    Raises:
        ClientGone: the client hung up.
        Refusal: 504 when the time is over, 500 when the app fails or leaves its answer unfinished.
    """
    inner = asyncio.create_task(_run(app, scope, line, reply))
    watch = asyncio.create_task(line.until_gone())
    try:
        done, _ = await asyncio.wait(
            {inner, watch}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if inner in done:
            _check(inner, reply)
        elif watch in done and not reply.complete:
            raise ClientGone
        elif not done:
            reply.visit.ended = "time limit"
            raise Refusal(
                504,
                f"The answer took longer than the {seconds:g} seconds that it may take.",
                code="time_limit",
            )
    finally:
        reply.shut()
        watch.cancel()
        await _end(inner, line)


async def _run(app: ASGIApp, scope: Scope, line: Line, reply: Reply) -> None:
    await app(scope, line.receive, reply.send)


def _check(inner: asyncio.Task[None], reply: Reply) -> None:
    error = asyncio.CancelledError() if inner.cancelled() else inner.exception()
    if error:
        log.error("request %s failed", reply.visit.request_id, exc_info=error)
    if not reply.complete and (error or reply.refusal is None):
        raise Refusal(500, "The service failed to answer.", code="internal_error")


async def _end(inner: asyncio.Task[None], line: Line) -> None:
    line.hang_up()
    if not inner.done():
        await asyncio.wait({inner}, timeout=GRACE_SECONDS)
    if not inner.done():
        inner.cancel()
        await asyncio.wait({inner}, timeout=GRACE_SECONDS)
    if inner.done() and not inner.cancelled():
        inner.exception()  # Of no interest any more; asyncio would complain that nobody looked.
