"""Replicas of a small application hand prompts over to each other as the chat service's do, on a real Ray Serve."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from ray import serve

from longspan.serve.app import ROUTER
from longspan.serve.relay import Relay, answers
from tests.nodes import until

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(300)]

CHARACTERS = 40
APPLICATION = "hand-over"
BODY = "http.response.body"


class Place:
    """A replica whose "engine" does what a request says, and tells which replica it is."""

    def __init__(self) -> None:
        here = serve.get_replica_context()
        self._me = here.replica_id.unique_id
        others = serve.get_deployment_handle(here.deployment, here.app_name).options(stream=True)
        self._relay = Relay(self._app, others.answer_for_another, self._me, CHARACTERS)
        self._told: list[str] = []

    async def ask(self, prompt: str, do: str, session: bool = False) -> dict[str, Any]:
        """A request that came to this replica: who answered, what came, and how it ended."""
        parts: list[str] = []
        first = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == BODY and message["body"]:
                parts.append(message["body"].decode())
                first.set()

        body = [json.dumps({"prompt": prompt, "do": do, "origin": self._me}).encode()]

        async def receive() -> Any:
            if body:
                return {"type": "http.request", "body": body.pop(), "more_body": False}
            await (first if do == "leave" else asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        headers = [(b"x-session-id", b"one")] if session else []
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": headers}
        error = ""
        try:
            await self._relay(scope, receive, send)
        except Exception as failed:
            error = type(failed).__name__
        return {"came_to": self._me, "parts": parts, "error": error}

    async def told(self) -> list[str]:
        """Which requests of this replica's engine were told that their client is gone."""
        return self._told

    async def answer_for_another(self, scope: Any, body: bytes) -> AsyncIterator[list[Any]]:
        async for messages in answers(self._app, scope, body, 60):
            yield messages

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads((await receive())["body"])
        moved = asked["origin"] != self._me
        if asked["do"] == "die" and moved:
            os._exit(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": BODY, "body": self._me.encode(), "more_body": True})
        if asked["do"] == "die later" and moved:
            await asyncio.sleep(0.5)  # What was sent arrives.
            os._exit(1)
        if asked["do"] == "leave":
            told = (await receive())["type"]
            self._told += [told] if moved else []
            return
        await send({"type": BODY, "body": b"end", "more_body": False})


@pytest.fixture(scope="module")
def handle(ray_session: str) -> Iterator[Any]:
    options: dict[str, Any] = {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0}}
    place = serve.deployment(Place, request_router_config={"request_router_class": ROUTER})
    serve.start(proxy_location="Disabled")
    yield serve.run(place.options(**options).bind(), name=APPLICATION, route_prefix=None)
    serve.delete(APPLICATION)
    if not serve.status().applications:  # Else it would be without a proxy for those that come.
        serve.shutdown()


def prompts(number: int) -> list[str]:
    return [f"{each:04d} {'the sea and the ships ' * 4}" for each in range(number)]


def moved(handle: Any, do: str) -> dict[str, Any]:
    """The answer to a request that came to another replica than the owner of its prompt's beginning."""

    def ask() -> dict[str, Any] | None:
        for prompt in prompts(8):
            owner = handle.ask.remote(prompt, "answer").result()["parts"][0]
            found = handle.ask.remote(prompt, do).result()
            if found["came_to"] != owner:
                return found | {"owner": owner}
        return None

    return until(ask)  # A replica that has died comes back.


def test_a_beginning_has_one_owner_wherever_its_prompts_come_to(handle: Any) -> None:
    owners = set()
    for prompt in prompts(12):
        found = [handle.ask.remote(f"{prompt} Question {n}?", "answer").result() for n in range(6)]
        assert all(each["parts"][1:] == ["end"] and not each["error"] for each in found)
        assert len({each["parts"][0] for each in found}) == 1
        owners.add(found[0]["parts"][0])
    assert len(owners) == 2


def test_short_prompts_and_sessions_stay_where_they_came_to(handle: Any) -> None:
    for prompt in prompts(6):
        for found in (
            handle.ask.remote(prompt[: CHARACTERS // 2], "answer").result(),
            handle.ask.remote(prompt, "answer", session=True).result(),
        ):
            assert found["parts"] == [found["came_to"], "end"]


def test_the_owner_is_told_when_the_client_is_gone(handle: Any) -> None:
    found = moved(handle, "leave")
    assert (found["parts"], found["error"]) == ([found["owner"]], "")
    until(lambda: ["http.disconnect"] in [handle.told.remote().result() for _ in range(8)], 30)


def test_an_owner_that_dies_before_it_has_said_anything_is_done_without(handle: Any) -> None:
    found = moved(handle, "die")
    assert found["parts"] == [found["came_to"], "end"]
    assert not found["error"]


def test_an_owner_that_dies_in_the_middle_is_an_error(handle: Any) -> None:
    found = moved(handle, "die later")
    assert found["parts"] == [found["owner"]]
    assert found["error"]
