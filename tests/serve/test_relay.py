"""Where a prompt belongs, and an app's answer on its way to another replica."""

import asyncio
import json
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

from longspan.serve.relay import answers, beginning

TALE = "The keeper of the light wrote down every ship that passed. " * 5


def chat(*contents: object) -> bytes:
    roles = ("user", "assistant") * len(contents)
    turns = [{"role": role, "content": each} for role, each in zip(roles, contents, strict=False)]
    return json.dumps({"model": "m", "messages": turns}).encode()


def test_prompts_alike_in_their_beginning_belong_together() -> None:
    first = beginning(chat(f"{TALE} Who wrote?"), 200)
    assert first is not None
    assert beginning(chat(f"{TALE} What passed?"), 200) == first
    assert beginning(chat(f"{TALE} Who wrote?", "The keeper.", "Of what?"), 200) == first
    assert beginning(chat([{"type": "text", "text": f"{TALE} Who?"}]), 200) == first
    assert beginning(chat(f"A {TALE} Who wrote?"), 200) != first
    assert beginning(chat(TALE), 201) != first


def test_prompts_with_another_salt_need_not_meet() -> None:
    def salted(salt: str) -> bytes:
        return json.dumps(json.loads(chat(TALE)) | {"cache_salt": salt}).encode()

    assert beginning(salted("a"), 200) == beginning(salted("a"), 200)
    assert (
        len({beginning(salted("a"), 200), beginning(salted("b"), 200), beginning(chat(TALE), 200)})
        == 3
    )


def test_a_prompt_of_tokens_has_a_beginning_too() -> None:
    def prompt(value: object) -> bytes:
        return json.dumps({"prompt": value}).encode()

    tokens = list(range(100_000, 100_100))
    first = beginning(prompt([*tokens, 1, 2]), 400)
    assert first is not None
    assert beginning(prompt([*tokens, 3]), 400) == first
    assert beginning(prompt([7, *tokens]), 400) != first
    assert beginning(prompt(tokens[:99]), 400) is None
    assert beginning(prompt(TALE), 200) == beginning(prompt(f"{TALE} And?"), 200) is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b'{"messages": 3}',
        b'{"messages": [3]}',
        b'{"messages": [{}]}',
        b'{"messages": [{"content": {"a": 1}}]}',
        b'{"prompt": ["one", "two"]}',
        b'{"prompt": [[1, 2], [3]]}',
        b'{"prompt": [true]}',
        chat("short"),
        chat(None),
    ],
)
def test_what_is_short_or_no_prompt_belongs_nowhere(body: bytes) -> None:
    assert beginning(body, 100) is None


def test_no_characters_are_no_beginning() -> None:
    assert beginning(chat(TALE), 0) is None


async def collected(app: Any, body: bytes) -> list[list[Any]]:
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    return [messages async for messages in answers(app, scope, body, 60)]


def test_an_answer_passes_whole_and_in_order() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = await Request(scope, receive).body()

        async def parts() -> Any:
            for number in range(50):
                yield b"%s %d " % (body, number)
                await asyncio.sleep(0 if number % 7 else 0.001)

        await StreamingResponse(parts())(scope, receive, send)

    found = asyncio.run(collected(app, b"part"))
    messages = [message for batch in found for message in batch]
    assert messages[0]["type"] == "http.response.start"
    body = b"".join(message["body"] for message in messages[1:])
    assert body == b"".join(b"part %d " % number for number in range(50))
    assert not messages[-1].get("more_body", False)


def test_an_app_that_fails_is_no_answer() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        asyncio.run(collected(app, b""))


def test_an_app_is_told_when_nobody_listens_any_more() -> None:
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        told.append((await receive())["type"])

    async def leave() -> None:
        messages = answers(app, {"type": "http"}, b"", 60)
        await anext(messages)
        await messages.aclose()

    asyncio.run(leave())
    assert told == ["http.disconnect"]


def test_an_app_is_told_when_the_time_is_over() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert (await receive())["type"] == "http.disconnect"

    async def whole() -> list[Any]:
        return [messages async for messages in answers(app, {"type": "http"}, b"", 0.01)]

    assert [len(messages) for messages in asyncio.run(whole())] == [1]
