"""What reaches the inner app, of all that can be asked."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from longspan.serve.gateway.gateway import Gateway
from tests.gateway.inner import WINDOW
from tests.gateway.scopes import Anyone, scope_of

SERVED = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/org/name-1.5"),
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/page/app.js"),
    ("POST", "/page/tokens"),
    ("POST", "/page/text"),
]
Visited = Callable[..., tuple[int, list[str]]]


@pytest.fixture(scope="module")
def visited() -> Iterator[Visited]:
    """Sends a request; gives the status, and the paths that reached the inner app."""
    with asyncio.Runner() as runner:
        yield lambda *request, **more: runner.run(_visited(*request, **more))


async def _visited(
    method: str,
    raw: str,
    body: bytes = b"{}",
    root: str = "",
    key: bool = True,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> tuple[int, list[str]]:
    reached: list[str] = []
    sent: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        assert scope["root_path"] == ""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        if not sent:
            return {"type": "http.request", "body": body, "more_body": False}
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    gateway = Gateway(inner, keys=Anyone(), window=WINDOW, observers=())
    scope = scope_of(method, raw, root, key)
    await gateway(scope | ({"headers": headers} if headers else {}), receive, send)
    return sent[0]["status"], reached


@pytest.mark.parametrize("root", ["", "/chat"])
@pytest.mark.parametrize(("method", "path"), SERVED)
def test_what_is_served_is_reached(visited: Visited, method: str, path: str, root: str):
    assert visited(method, path, b'{"model": "m"}', root) == (200, [path])


NOT_SERVED = """
//v1/models /v1//models /v1/models/ /V1/models /v1%2Fmodels /v1/%6Dodels /v1/models/../pause
/v1/models/%2e%2e/pause /v1/models/%252e%252e/pause /v1/./models /v1/models;x /v1/models\\x
/v1/models%00 /v1/models%0A /metrics /pause /resume /sleep /tokenize /detokenize /invocations
/collective_rpc /load /version /docs /openapi.json /v1/responses /v1/embeddings /page
/page/ /page/../metrics /page/.env /page/a//b /page/%2e%2e/metrics * http://x/v1/models
"""


@pytest.mark.parametrize("path", NOT_SERVED.split())
def test_what_is_not_served_is_not_there(visited: Visited, path: str):
    for method in ("GET", "POST"):
        assert visited(method, path) == (404, [])


@pytest.mark.parametrize(("method", "path"), SERVED)
def test_only_the_methods_of_a_path_are_taken(visited: Visited, method: str, path: str):
    taken = {each for each, where in SERVED if where == path}
    for other in {"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"} - taken:
        assert visited(other, path) == (405, [])


ODD = "/ // . .. %2F %2f %00 %0a ; ? * metrics pause v1 models"
WORDS = [path for _, path in SERVED] + ODD.split()


@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", "get"]) | st.text(max_size=8),
    raw=st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=5).map("".join),
)
@example(method="GET", raw="/v1/models\n")
@settings(max_examples=150, deadline=None)
def test_nothing_else_reaches_the_inner_app(visited: Visited, method: str, raw: str):
    status, reached = visited(method, raw, b'{"model": "m"}')
    assert status in (200, 404, 405)
    for path in reached:
        assert path == unquote(raw)
        listed = path.startswith(("/v1/models/", "/page/")) or (method, path) in SERVED
        assert listed or method == "HEAD"
        assert not {"", ".", ".."} & set(path.split("/")[1:]) or path == "/"
        assert method in ("GET", "HEAD", "POST")


@pytest.mark.parametrize(("method", "path"), SERVED)
def test_without_a_key_only_what_is_public_is_reached(visited: Visited, method: str, path: str):
    public = path in ("/", "/health", "/ready", "/page/app.js")
    expected = (200, [path]) if public else (401, [])
    assert visited(method, path, key=False) == expected


HEADERS = [
    [(b"x-api-key", b"ls-x")],
    [(b"authorization", b"Basic bHMteDo=")],
    [(b"authorization", b"ls-x")],
    [(b"authorization", b"Bearer ls-x"), (b"authorization", b"Basic bHMteDo=")],
    [(b"proxy-authorization", b"Bearer ls-x")],
    [(b"cookie", b"authorization=Bearer ls-x")],
    [(b"x-http-method-override", b"GET")],
    [(b"x-original-url", b"/health")],
    [(b"x-rewrite-url", b"/health")],
    [(b"x-forwarded-prefix", b"/page")],
]


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: headers[-1][0].decode())
def test_only_one_header_opens_and_none_changes_the_path(visited: Visited, headers: Any):
    assert visited("POST", "/v1/chat/completions", headers=headers) == (401, [])


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
@example(b'{"model": "m", "n": 1e400}')
@example(b'{"model": "m", "stream": true, "stream_options": {"include_usage": "maybe"}}')
@example(b"[" * 100_000)
@example(b'{"model": "m", "max_tokens": ' + b"9" * 4000 + b"}")
@settings(max_examples=100, deadline=None)
def test_no_body_breaks_the_doors(visited: Visited, body: bytes):
    status, _ = visited("POST", "/v1/chat/completions", body)
    assert status in (200, 400)


def test_other_kinds_of_connection():
    passed, sent = [], []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope["type"])

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def receive() -> Any:
        return {}

    gateway = Gateway(inner, keys=Anyone(), window=WINDOW)
    for kind in ("lifespan", "websocket"):
        asyncio.run(gateway({"type": kind, "path": "/v1/models"}, receive, send))
    assert (passed, sent) == (["lifespan"], ["websocket.close"])
