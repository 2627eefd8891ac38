"""What a request costs, however it ends."""

import json

import httpx
import pytest

from longspan.serve.gateway import keys
from longspan.serve.gateway.charged_tokens import MAX_TOKENS_PER_SECOND, charged_tokens
from longspan.serve.gateway.errors import Refusal
from longspan.serve.gateway.keys import KeyLimits
from longspan.serve.gateway.request_log import RequestLog
from longspan.serve.gateway.usage import UsageInBody, UsageInEvents
from tests.gateway.conftest import until
from tests.gateway.inner import chunk, event, usage
from tests.gateway.test_request_fields import WINDOW, chat, completion


def request_log(seconds: float = 0.0) -> RequestLog:
    """A request that came so many seconds ago."""
    made = RequestLog(request_id="1", own_id=True, method="POST", path="/v1/completions", client="")
    made._started -= seconds
    return made


def test_what_runs_is_charged_for_all_that_it_may_need():
    assert completion(prompt=[1, 2, 3], max_tokens=10, n=4).reserved_tokens(512) == 3 + 40
    assert completion(prompt=[[1, 2], [3]], max_tokens=10).reserved_tokens(512) == 3 + 20
    assert completion(prompt=[1]).reserved_tokens(512) == 1 + 16
    assert 512 < chat(n=2).reserved_tokens(256) < 600
    assert chat().max_output_tokens() == WINDOW


def test_a_complete_answer_costs_what_the_engine_says():
    done = request_log()
    done.used(7, 3)
    assert charged_tokens(done, chat(max_tokens=900), True, None) == 10


def test_what_the_engine_refuses_costs_nothing():
    refusal = Refusal(400, "too long")
    assert charged_tokens(request_log(), chat(), True, refusal) == 0
    assert charged_tokens(request_log(), None, False, None) == 0


def test_an_answer_that_nobody_waits_for_costs_what_the_engine_may_have_made():
    gone = request_log(seconds=2)
    prompt = chat().prompt_tokens
    made = int(2 * MAX_TOKENS_PER_SECOND)
    assert charged_tokens(gone, chat(), False, None) >= prompt + made
    bounded = chat(max_tokens=50, n=2)
    assert charged_tokens(gone, bounded, False, None) == bounded.prompt_tokens + 100
    # A stream has made nothing before its first event.
    stream = chat(stream=True)
    assert charged_tokens(gone, stream, False, None) == stream.prompt_tokens
    gone.used(7, 300)
    assert charged_tokens(gone, chat(stream=True), False, None) >= 307


@pytest.mark.parametrize("pieces", [1, 7])
def test_usage_is_found_wherever_it_is_in_an_answer(pieces):
    """A client's text cannot pass for it: quotes are escaped there."""
    fake = '"usage":{"prompt_tokens":1,"total_tokens":2,"completion_tokens":1}'
    answer = chunk(choices=[{"message": {"content": fake}}], usage=usage(3), prompt_text=fake)
    answer |= {"prompt_logprobs": [{"1": {"logprob": -1.0}}] * 1000}
    data = json.dumps(answer, separators=(",", ":")).encode()
    seen, step = request_log(), -(-len(data) // pieces)
    found = UsageInBody(seen)
    for at in range(0, len(data), step):
        part = data[at : at + step]
        assert found.passed(part, at + step < len(data)) == part
    assert (seen.prompt_tokens, seen.completion_tokens) == (7, 3)
    assert len(found._end) <= 1024


def test_the_tokens_of_all_answers_of_a_stream_are_added_up():
    seen = request_log()
    stream = UsageInEvents(
        seen, hides_last=True, hides_others=True, num_answers=4, answers_per_prompt=2
    )
    for index, tokens in ((0, 1), (1, 5), (2, 2), (0, 2)):
        choice = {"index": index, "text": "x"}
        passed = stream.passed(event(chunk(choices=[choice], usage=usage(tokens))).encode(), True)
        assert passed == event(chunk(choices=[choice])).encode()
    # Two prompts of 7 tokens; answers of 2, 5 and 2.
    assert (seen.prompt_tokens, seen.completion_tokens) == (14, 9)
    several = [
        event(chunk(choices=[{"index": 3}], usage=usage(4))),
        event(chunk(choices=[], usage=usage(13))),
    ]
    assert (
        stream.passed("".join([*several, "data: [DONE]\n\n"]).encode(), False)
        == (event(chunk(choices=[{"index": 3}])) + "data: [DONE]\n\n").encode()
    )
    assert seen.completion_tokens == 13


def test_a_client_that_hangs_up_is_charged_for_what_it_has_not_read(build, visits):
    house = build(key=KeyLimits(tokens_per_minute=1000))
    body = house.body("endless", stream=True) | {"stream_interval": 10_000}
    with httpx.stream(
        "POST", f"{house.url}/v1/chat/completions", json=body, headers=house.headers
    ) as response:
        said = ""
        for line in response.iter_lines():
            said += line
            if '"x"' in line:  # A thousand tokens in one event.
                break
    assert "usage" not in said.replace('\\"usage\\"', "")
    assert "stream_interval" not in house.inner.bodies[0]
    assert visits(1)[0]["completion_tokens"] >= 1003
    refused = house.ask()
    assert refused.status_code == 429
    assert "1000 tokens per minute" in refused.json()["error"]["message"]


def test_a_client_that_hangs_up_on_an_answer_in_one_piece_is_charged(build, visits):
    house = build(key=KeyLimits(tokens_per_minute=10))
    with house.connect() as connection:
        connection.sendall(house.question("endless", max_tokens=900))
        until(lambda: house.inner.generating == 1)
    visits(1)
    assert house.ask().status_code == 429


def test_a_key_that_runs_into_its_limits_leaves_the_room_to_others(build):
    """One that floods used to fill the room while its requests waited to be refused."""
    house = build(key=KeyLimits(concurrent=1), limits={"max_requests": 4})
    with house.connect() as first:
        first.sendall(house.question("endless"))
        until(lambda: house.inner.generating == 1)
        connections = [house.connect() for _ in range(12)]
        for each in connections:
            each.sendall(house.question("hello"))
        bob = {"authorization": f"Bearer {keys.add(house.store, 'bob', KeyLimits())}"}
        until(lambda: house.get("/v1/models", headers=bob).status_code == 200)
        for _ in range(10):
            for each in connections[:4]:
                each.sendall(house.question("hello"))
            assert house.post(json=house.body(), headers=bob).status_code == 200
        for each in connections:
            each.close()


def test_keys_do_not_share_the_prefix_cache_unless_that_is_allowed(build):
    house = build()
    house.ask()
    house.ask(cache_salt="mine")
    house.ask(stream=True)
    first, mine, again = (body["cache_salt"] for body in house.inner.bodies)
    assert first == again != mine
    assert len(first) == len(mine) == 64
    other = build()
    other.ask()
    assert other.inner.bodies[0]["cache_salt"] not in (first, mine)
    shared = build(limits={"share_prefix_cache": True})
    shared.ask()
    shared.ask(cache_salt="mine")
    assert [body.get("cache_salt") for body in shared.inner.bodies] == [None, "mine"]
