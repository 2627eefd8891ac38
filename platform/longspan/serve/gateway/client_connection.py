"""Connection of a client, as the inner app sees it."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive


class ClientConnection:
    """Delivers a body that was already read to the inner app, then a disconnect when the client is gone.

    The engine's app waits for the disconnect and stops generating. It comes from the client, or from the gateway at a
    time limit.

    Args:
        receive: the server's.
        body: the whole body.
    """

    def __init__(self, receive: Receive, body: bytes) -> None:
        self._receive = receive
        self._body: bytes | None = body
        self._gone = asyncio.Event()

    async def receive(self) -> Message:
        """ASGI's receive."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def until_gone(self) -> None:
        """Return when the client has hung up, or has received its whole answer."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def hang_up(self) -> None:
        """Tell the inner app that the client is gone."""
        self._gone.set()
