import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from longspan.serve.gateway import keys
from longspan.serve.gateway.access_log import NAME
from longspan.serve.gateway.gateway import Gateway
from longspan.serve.gateway.keyring import KeyRing
from longspan.serve.gateway.limits import GatewayLimits
from longspan.storage import Store
from tests.gateway.inner import WINDOW, Inner


class House:
    """A server on loopback: the gateway, and an app behind it."""

    def __init__(self, store: Store, token: str, port: int, inner: Inner) -> None:
        self.store, self.token, self.port, self.inner = store, token, port, inner
        self.url = f"http://127.0.0.1:{port}"
        self.headers = {"authorization": f"Bearer {token}"}

    def body(self, content: str = "hello", **more: Any) -> dict[str, Any]:
        return {"model": "m", "messages": [{"role": "user", "content": content}]} | more

    def ask(self, content: str = "hello", **more: Any) -> httpx.Response:
        return self.post(json=self.body(content, **more))

    def post(self, path: str = "/v1/chat/completions", **more: Any) -> httpx.Response:
        options: dict[str, Any] = {"headers": self.headers, "timeout": 30} | more
        return httpx.post(self.url + path, **options)

    def get(self, path: str, **more: Any) -> httpx.Response:
        options: dict[str, Any] = {"headers": self.headers} | more
        return httpx.get(self.url + path, **options)

    def question(self, content: str, **more: Any) -> bytes:
        """A whole request, written by hand."""
        body = json.dumps(self.body(content, **more)).encode()
        return self.head(f"content-length: {len(body)}") + body

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def head(self, *lines: str, path: str = "/v1/chat/completions") -> bytes:
        """The beginning of a request, written by hand."""
        first = (f"POST {path} HTTP/1.1", "host: x", f"authorization: Bearer {self.token}")
        return ("\r\n".join((*first, *lines)) + "\r\n\r\n").encode()


Build = Callable[..., House]


class Street:
    """A server for all tests, which stands for the house that was built last."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.active = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(self, log_config=None, access_log=False, lifespan="off")
        self.server = uvicorn.Server(config)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        self.active += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.active -= 1

    def run(self) -> None:
        asyncio.run(self.server.serve(sockets=[self.listener]))


@pytest.fixture(scope="session")
def street() -> Iterator[Street]:
    street = Street()
    thread = threading.Thread(target=street.run, daemon=True)
    thread.start()
    until(lambda: street.server.started)
    yield street
    street.server.should_exit = street.server.force_exit = True
    thread.join()


@pytest.fixture
def build(tmp_path_factory: pytest.TempPathFactory, street: Street) -> Iterator[Build]:
    """Builds houses."""
    rings = []

    def built(*, key: keys.KeyLimits | None = None, **options: Any) -> House:
        store = Store(str(tmp_path_factory.mktemp("store")))
        token = keys.add(store, "alice", key)
        rings.append(KeyRing(store, every_seconds=0.05))
        inner = Inner()
        limits = GatewayLimits(**options.pop("limits", {}))
        street.app = Gateway(inner.app, keys=rings[-1], window=WINDOW, limits=limits, **options)
        return House(store, token, street.listener.getsockname()[1], inner)

    yield built
    until(lambda: street.active == 0)  # Its visits are not the next test's.
    for ring in rings:
        ring.close()


@pytest.fixture
def house(build: Build) -> House:
    """One with the limits that are there by default."""
    return build()


@pytest.fixture
def visits(caplog: pytest.LogCaptureFixture) -> Callable[[int], list[dict[str, Any]]]:
    """The lines of the access log, once there are so many."""
    caplog.set_level(logging.INFO, logger=NAME)

    def lines() -> list[dict[str, Any]]:
        return [json.loads(r.getMessage()) for r in caplog.records if r.name == NAME]

    def wait(number: int) -> list[dict[str, Any]]:
        until(lambda: len(lines()) >= number)
        return lines()

    return wait


def until(true: Callable[[], object]) -> None:
    """Wait for something that other threads do."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)
