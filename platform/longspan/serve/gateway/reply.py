"""An answer on its way from the inner app to the client."""

from __future__ import annotations

from starlette.types import Message, Send

from longspan.serve.gateway.errors import Refusal, refusal_of
from longspan.serve.gateway.request_log import RequestLog
from longspan.serve.gateway.usage import Usage

_DROPPED = (b"server", b"x-request-id")
_STREAM = b"text/event-stream"


class Reply:
    """Passes an answer on, chunk by chunk, and notes in a visit what goes by.

    An error that the inner app answers with is held back, to be given OpenAI's shape. Where the
    request brought an id, it is whoever sent it (Ray Serve's proxy, say) who puts it into the
    response; one that was made here is added here.

    Args:
        send: the server's.
        request_log: the request.
    """

    def __init__(self, send: Send, request_log: RequestLog) -> None:
        self.request_log = request_log
        self.complete = False
        """Whether the client has the whole answer."""
        self.refusal: Refusal | None = None
        """The inner app's error, held back."""
        self.reshapes = False
        """Whether to hold errors back."""
        self.usage: Usage | None = None
        """Takes the usage out of an answer of the model."""
        self._send = send
        self._started = False
        self._streams = False
        self._shut = False
        self._held: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._held_body = b""

    async def send(self, message: Message) -> None:
        """ASGI's send, for the inner app."""
        if self._shut:
            return
        if message["type"] == "http.response.body":
            await self._body(message)
        elif message["type"] == "http.response.start":
            await self._start(message["status"], list(message.get("headers", [])))

    def close(self) -> None:
        """Take nothing more from the inner app."""
        self._shut = True

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with an error in place of the inner app, or end its stream with one.

        Raises:
            Refusal: the one given, where something else than a stream has begun: nothing can be
                said any more, and the server breaks the connection off.
        """
        self.close()
        if self.complete:
            return
        if not self._started:
            body = refusal.body()
            headers = [(b"content-type", b"application/json")]
            headers += [(b"content-length", b"%d" % len(body))]
            headers += [
                (name.encode("latin-1"), value.encode("latin-1"))
                for name, value in refusal.headers.items()
            ]
            await self._begin(refusal.status, headers)
            await self._pass(body, False)
        elif self._streams:
            # No [DONE] follows: whoever misses the error doesn't take the answer for a whole one.
            await self._pass(refusal.event(), False)
        else:
            raise refusal

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if status >= 400 and self.reshapes:
            self._held = (status, headers)
            return
        kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")
        self._streams = kind.startswith(_STREAM)
        await self._begin(status, headers)

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        kept = [(name, value) for name, value in headers if name.lower() not in _DROPPED]
        if self.request_log.own_id:
            kept.append((b"x-request-id", self.request_log.request_id.encode()))
        self._started = True
        self.request_log.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": kept})

    async def _body(self, message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._held is not None:
            self._held_body += body
            if not more:
                self.refusal = refusal_of(*self._held, self._held_body)
            return
        if self.usage is not None:
            body = self.usage.passed(body, more)
        if body or not more:
            await self._pass(body, more)

    async def _pass(self, body: bytes, more: bool) -> None:
        request_log = self.request_log
        if body and request_log.first_byte_seconds is None:
            request_log.first_byte_seconds = request_log.elapsed()
        request_log.bytes_out += len(body)
        self.complete = not more
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
