"""A proxy between clients and an S3 server that fails as networks and servers do.

Requests are signed over their headers: they go on unchanged, `Host` included, and the server takes
the proxy's address for its own. Which requests fail is decided by a hash of the seed, the request
and how often it came before, so that a retry has another lot and threads change nothing.
"""

from __future__ import annotations

import http.client
import random
import re
import select
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

STALL_SECONDS = 120
CHECKSUM = "x-amz-checksum"
# As long as AWS's: longer than some of what is read.
SLOW_DOWN = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message>%s</Error>""" % (
    b"<RequestId>0123456789ABCDEF</RequestId><HostId>" + 76 * b"0" + b"</HostId>"
)


@dataclass(frozen=True)
class Faults:
    """What goes wrong, as shares of the requests that it can happen to.

    Attributes:
        slow_down: an answer 503, of all requests.
        reset: no answer, and a TCP reset, of all requests; most have been carried out by then.
        truncate: an object's content that ends in the middle.
        stall: an object's content that stops in the middle, while the connection stays.
        flip: one byte of the first reply with an object's content is another one.
        damaged: part of the names of objects every reply of which has such a byte.
        opaque: no fault, but a server like those that encrypt with KMS: nothing that it says of an
            object can be compared with its content.
        gone: no request gets anywhere: each is reset.
    """

    slow_down: float = 0.0
    reset: float = 0.0
    truncate: float = 0.0
    stall: float = 0.0
    flip: bool = False
    damaged: str = ""
    opaque: bool = False
    gone: bool = False


@dataclass(frozen=True)
class _Hold:
    pattern: re.Pattern[str]
    reached: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


class FaultProxy:
    """A running proxy.

    Attributes:
        endpoint: its URL.
        faults: what goes wrong from now on.
        injected: how often each did.
        refused: paths of the requests that came while the server was gone.
    """

    def __init__(self, endpoint: str, faults: Faults, seed: int) -> None:
        self.faults = faults
        self.injected: Counter[str] = Counter()
        self.refused: list[str] = []
        self._holds: list[_Hold] = []
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._upstream = urlsplit(endpoint).netloc
        self._seed = seed
        proxy = self

        class Handler(_Handler):
            def handle_one(self) -> None:
                proxy._serve(self)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[FaultProxy]:
        """Serve while the context lasts."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    @contextmanager
    def holding(self, pattern: str) -> Iterator[threading.Event]:
        """Keep what is to be written under such a path waiting, as long as the context lasts.

        Yields an event: something waits. What has waited is never carried out.
        """
        hold = _Hold(re.compile(pattern))
        self._holds.append(hold)
        try:
            yield hold.reached
        finally:
            self._holds.remove(hold)
            hold.over.set()

    def _kept(self, request: _Handler) -> bool:
        """Whether a request came at a moment in which nothing is carried out."""
        if self.faults.gone:
            with self._lock:
                self.refused.append(request.path)
            return True
        writes = request.command in ("PUT", "POST")
        found = [hold for hold in self._holds if writes and hold.pattern.search(request.path)]
        for hold in found:
            hold.reached.set()
            hold.over.wait()
        return bool(found)

    def _serve(self, request: _Handler) -> None:
        body = request.content()
        if self._kept(request):
            request.reset()
            return
        path = re.sub("uploadId=[^&]*", "", request.path)  # The only part that is a chance's.
        lot = self._draw(f"{request.command} {path} {request.headers.get('Range')}")
        faults = self.faults
        if lot < faults.slow_down:
            self._count("slow_down")
            request.answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        lot -= faults.slow_down
        # A POST that ends an upload is not carried out twice by every server.
        if request.command == "POST" and lot < faults.reset:
            self._count("reset")
            request.reset()
            return
        status, headers, content = self._forward(request, body)
        if lot < faults.reset:
            self._count("reset")
            request.reset()
            return
        lot -= faults.reset
        if faults.opaque:
            headers = [item for item in headers if not item[0].lower().startswith(CHECKSUM)]
            headers.append(("x-amz-server-side-encryption", "aws:kms"))
        if request.command != "GET" or status not in (200, 206) or "list-type" in request.path:
            request.answer(status, headers, content)
            return
        content = self._flipped(request.path, content)
        half = len(content) // 2
        if content and lot < faults.truncate:
            self._count("truncate")
            request.answer(status, headers, content, up_to=half)
            request.close_connection = True
        elif content and lot < faults.truncate + faults.stall:
            self._count("stall")
            request.answer(status, headers, content, up_to=half)
            request.stall()
        else:
            request.answer(status, headers, content)

    def _forward(self, request: _Handler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self._upstream, timeout=STALL_SECONDS)
        try:
            connection.putrequest(
                request.command, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                if name.lower() != "expect":  # Answered here.
                    connection.putheader(name, value)
            chunked = "Transfer-Encoding" in request.headers  # Arrow's uploads.
            connection.endheaders([body] if chunked else body, encode_chunked=chunked)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()

    def _flipped(self, path: str, content: bytes) -> bytes:
        name = path.split("?")[0]
        with self._lock:
            first = not self._seen[name]
            self._seen[name] += 1
        always = bool(self.faults.damaged) and self.faults.damaged in name
        if not content or not (always or (self.faults.flip and first)):
            return content
        self._count("damaged" if always else "flip")
        place = random.Random(f"{self._seed} {name}").randrange(len(content))
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    def _draw(self, what: str) -> float:
        """A number in [0, 1)."""
        with self._lock:
            self._seen[what] += 1
            return random.Random(f"{self._seed} {what} {self._seen[what]}").random()

    def _count(self, kind: str) -> None:
        with self._lock:
            self.injected[kind] += 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """Only close it: with an end of the stream before, no reset would be seen."""
        self.close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up; that is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet for headers and content: between two the kernel waits 40 ms for an acknowledgment.
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle_one(self) -> None:
        raise NotImplementedError

    def content(self) -> bytes:
        """The request's body."""
        if "Transfer-Encoding" not in self.headers:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def answer(
        self,
        status: int,
        headers: list[tuple[str, str]],
        content: bytes,
        up_to: int | None = None,
    ) -> None:
        """A reply that promises all of the content, and has it up to some byte."""
        self.send_response_only(status)
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = lengths[0] if self.command == "HEAD" and lengths else str(len(content))
        if status not in (204, 304):
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:up_to])
        self.wfile.flush()

    def reset(self) -> None:
        """End the connection at once, with what is under way."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def stall(self) -> None:
        """Send nothing until the client gives up."""
        with suppress(OSError):
            select.select([self.connection], [], [], STALL_SECONDS)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self.handle_one()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET


TRANSIENT = {
    "slow_down": Faults(slow_down=0.3),
    "reset": Faults(reset=0.2),
    "truncate": Faults(truncate=0.4),
    "stall": Faults(stall=0.25),
    "flip": Faults(flip=True),
}
"""Each fault alone that a client can get over."""


@contextmanager
def faulty(endpoint: str, faults: Faults, seed: int = 11) -> Iterator[FaultProxy]:
    """A proxy in front of a server, and clients that notice a stall within two seconds."""
    with (
        pytest.MonkeyPatch.context() as patch,
        FaultProxy(endpoint, faults, seed).running() as proxy,
    ):
        patch.setattr("longspan.storage.s3.REQUEST_SECONDS", 2)
        yield proxy
