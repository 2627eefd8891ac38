"""Streams, and how they end."""

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest

from longspan.serve.gateway.gateway import Gateway
from longspan.serve.gateway.limits import GatewayLimits
from longspan.serve.gateway.request_log import RequestLog
from tests.gateway.conftest import until
from tests.gateway.inner import WINDOW, Inner, usage
from tests.gateway.scopes import Anyone, scope_of

USER = [{"role": "user", "content": "hello"}]


def events(response: httpx.Response) -> list[str]:
    assert response.text.endswith("\n\n")
    return [event.removeprefix("data: ") for event in response.text[:-2].split("\n\n")]


def words(said: list[str]) -> list[str]:
    return [json.loads(each)["choices"][0]["delta"]["content"] for each in said]


def test_who_does_not_ask_for_the_usage_does_not_see_it(house):
    response = house.ask(stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    *said, done = events(response)
    assert words(said) == ["a", "b", 'c "choices":[] "usage":{']
    assert all("usage" not in json.loads(each) for each in said)
    assert json.loads(said[0])["prompt_text"] is None
    assert done == "[DONE]"


@pytest.mark.parametrize("value", [True, "true", 1])
def test_who_asks_for_the_usage_sees_it(house, value):
    response = house.ask(stream=True, stream_options={"include_usage": value, "other": 1})
    *said, last, done = events(response)
    assert len(said) == 3 and done == "[DONE]"
    assert all("usage" not in json.loads(each) for each in said)
    assert json.loads(last)["usage"] == usage(3)


def test_who_asks_for_the_usage_of_every_event_sees_it(house):
    options = {"include_usage": True, "continuous_usage_stats": True}
    *said, last, _ = events(house.ask(stream=True, stream_options=options))
    counts = [json.loads(each)["usage"]["completion_tokens"] for each in (*said, last)]
    assert counts == [1, 2, 3, 3]
    # As the engine has it, the one without the other asks for nothing.
    response = house.ask(stream=True, stream_options={"continuous_usage_stats": True})
    assert len(events(response)) == 4 and '"usage":{"p' not in response.text


def test_chunks_come_as_they_are_made(house):
    body = house.body("endless", stream=True)
    with httpx.stream(
        "POST", f"{house.url}/v1/chat/completions", json=body, headers=house.headers
    ) as r:
        lines = r.iter_lines()
        assert len([next(lines) for _ in range(20)]) == 20
        assert house.inner.generating == 1
    until(lambda: house.inner.generating == 0)


@pytest.mark.parametrize("stream", [True, False])
def test_the_engine_stops_when_the_client_hangs_up(house, visits, stream):
    body = json.dumps(
        {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "endless"}]}
    )
    with house.connect() as connection:
        connection.sendall(house.head(f"content-length: {len(body)}") + body.encode())
        until(lambda: house.inner.generating == 1)
        if stream:
            assert connection.recv(10)
    until(lambda: house.inner.generating == 0)
    (request_log,) = visits(1)
    assert request_log["ended"] == "client gone"
    assert (request_log["completion_tokens"] or 0) >= stream


@pytest.fixture
def client(house):
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key=house.token, max_retries=0)


def test_the_openai_client_reads_a_stream(client):
    stream = client.chat.completions.create(model="m", messages=USER, stream=True)
    assert [chunk.choices[0].delta.content for chunk in stream][:2] == ["a", "b"]


def test_the_openai_client_raises_on_a_stream_that_breaks(client, visits):
    stream = client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "raise in the middle"}], stream=True
    )
    seen = []
    with pytest.raises(openai.APIError, match="The service failed to answer") as caught:
        seen.extend(chunk.choices[0].delta.content for chunk in stream)
    assert "secret" not in str(caught.value)
    (request_log,) = visits(1)
    assert (request_log["status"], request_log["ended"], request_log["completion_tokens"]) == (
        200,
        "error",
        3,
    )


def test_a_broken_stream_has_no_done(house):
    *said, last = events(house.ask("raise in the middle", stream=True))
    assert len(said) == 3
    assert json.loads(last)["error"]["code"] == "internal_error"


def test_nothing_follows_an_error_of_the_engine(house, visits):
    *said, last = events(house.ask("engine error", stream=True))
    assert len(said) == 3
    assert json.loads(last)["error"]["message"] == "out of memory"
    assert visits(1)[0]["ended"] == "error"


def test_a_client_that_reads_nothing_is_not_waited_for(build, visits):
    house = build(limits={"request_seconds": 2, "grace_seconds": 0.1, "max_requests": 1})
    with house.connect() as connection:
        connection.sendall(house.question("flood", stream=True))
        assert visits(1)[0]["ended"] == "time limit"
        assert house.ask().status_code == 200


def test_a_stream_that_takes_too_long_ends_with_an_error(build, visits):
    house = build(limits={"request_seconds": 1})
    *said, last = events(house.ask("endless", stream=True))
    assert words(said[-1:]) == ["x"]
    assert json.loads(last)["error"]["code"] == "time_limit"
    until(lambda: house.inner.generating == 0)
    assert visits(1)[0]["ended"] == "time limit"


def test_the_openai_client_knows_the_errors(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(
            model="x", messages=[{"role": "user", "content": "unknown model"}]
        )
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="ls-wrong").models.list()
    with pytest.raises(openai.BadRequestError, match="n: must be 1 to 64 answers"):
        client.chat.completions.create(model="m", messages=USER, n=1000000)


class Endings(list):
    """An observer that keeps how visits ended."""

    def record(self, request_log: RequestLog) -> None:
        self.append(request_log.ended)


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_that_ray_serve_cancels_frees_the_engine(stream):
    """Ray Serve cancels the call of the app when a client is gone, and need not say so first."""
    inner, endings = Inner(), Endings()
    message = {"role": "user", "content": "endless"}
    body = {"model": "m", "messages": [message], "stream": stream}

    async def run() -> None:
        arriving = [{"type": "http.request", "body": json.dumps(body).encode()}]

        async def receive() -> Any:
            if not arriving:
                await asyncio.Event().wait()
            return arriving.pop()

        async def send(message: Any) -> None:
            assert stream, message

        # Long enough that it is the news which ends the work, not the cancelling that follows.
        limits = GatewayLimits(grace_seconds=60)
        gateway = Gateway(
            inner.app, keys=Anyone(), window=WINDOW, limits=limits, observers=(endings,)
        )
        scope = scope_of("POST", "/v1/chat/completions")
        call = asyncio.create_task(gateway(scope, receive, send))
        while not inner.generating:
            await asyncio.sleep(0)
        call.cancel()
        async with asyncio.timeout(20):
            with pytest.raises(asyncio.CancelledError):
                await call
        assert inner.generating == 0

    asyncio.run(run())
    assert endings == ["client gone"]
