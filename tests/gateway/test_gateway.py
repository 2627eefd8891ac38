"""What a client is answered, over real sockets."""

import json
import socket
import time

import httpx
import pytest

from longspan.serve.gateway import keys
from longspan.serve.gateway.keys import KeyLimits
from tests.gateway.conftest import until
from tests.gateway.inner import TOO_LONG, USAGE

ERROR = {"message", "type", "param", "code"}


def error(response: httpx.Response, status: int) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    value = response.json()
    assert set(value) == {"error"} and set(value["error"]) == ERROR
    assert isinstance(value["error"]["message"], str)
    return value["error"]


def raw_answer(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data or not data.endswith(b"}"):
        part = connection.recv(65536)
        if not part:
            break
        data += part
    return data


def test_an_answer_passes_as_it_is(house):
    response = house.ask("hello", temperature=0.5, logit_bias={"7": 1})
    assert response.status_code == 200
    assert response.json()["usage"] == USAGE
    (body,) = house.inner.bodies
    assert body["temperature"] == 0.5 and body["logit_bias"] == {"7": 1.0}


def test_the_inner_app_sees_no_key_no_cookie_and_no_origin(house):
    headers = house.headers | {
        "origin": "https://evil",
        "cookie": "a=b",
        "x-data-parallel-rank": "7",
    }
    response = house.post(json={"model": "m"}, headers=headers)
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers
    (seen,) = house.inner.reached
    assert {"authorization", "cookie", "origin", "x-data-parallel-rank"}.isdisjoint(seen.headers)
    assert seen.headers["x-request-id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("given", ["", "two words", "x" * 65, "a/b"])
def test_a_request_id_that_is_not_sane_is_replaced(house, given):
    response = house.get("/v1/models", headers=house.headers | {"x-request-id": given})
    (seen,) = house.inner.reached
    assert seen.headers["x-request-id"] == response.headers["x-request-id"] != given
    kept = house.get("/v1/models", headers=house.headers | {"x-request-id": "of-a.proxy_1"})
    assert house.inner.reached[1].headers["x-request-id"] == "of-a.proxy_1"
    assert "x-request-id" not in kept.headers


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Basic {token}", "Bearer x{token}", "Bearer \xff"]
)
def test_without_a_key_nothing_is_answered(house, header):
    headers = {} if header is None else {"authorization": header.format(token=house.token)}
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    response = house.post(json={"model": "m"}, headers=encoded)
    assert error(response, 401)["code"] in ("missing_api_key", "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"
    assert house.inner.reached == []


def test_a_revoked_key_is_refused_without_a_restart(house):
    assert house.ask().status_code == 200
    keys.revoke(house.store, "alice")
    until(lambda: house.ask().status_code == 401)
    assert error(house.ask(), 401)["code"] == "invalid_api_key"


def test_public_paths_need_no_key(house):
    for path in ("/", "/health", "/ready", "/page/app.js"):
        response = house.get(path, headers={})
        assert response.text == "hello"
        assert "inner" not in str(response.headers)
    assert error(house.get("/metrics"), 404)["code"] == "not_found"
    refused = house.get("/v1/chat/completions")
    assert error(refused, 405)["code"] == "method_not_allowed"
    assert refused.headers["allow"] == "POST"


def test_a_websocket_is_refused(house):
    with house.connect() as connection:
        connection.sendall(
            b"GET /v1/chat/completions HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n"
            b"connection: upgrade\r\nsec-websocket-version: 13\r\n"
            b"sec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        assert connection.recv(100).startswith((b"HTTP/1.1 403", b"HTTP/1.1 405"))
    assert house.inner.reached == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b'{"model": "m"', "not JSON"),
        (b'{"model": "\xff"}', "not JSON in UTF-8"),
        (b'{"model": "m", "temperature": NaN}', "not JSON"),
        (b'{"model": "m", "user": "\\ud800"}', "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"messages": []}', "model: Field required."),
        (b'{"model": ""}', "model: String should have at least 1 character."),
        (b'{"model": "m", "max_tokens": -1}', "max_tokens: must be 0 to 1000 tokens, not -1."),
        (
            b'{"model": "m", "max_completion_tokens": 1e9}',
            "must be 0 to 1000 tokens, not 1000000000.",
        ),
        (b'{"model": "m", "max_tokens": "many"}', "max_tokens: Input should be a valid integer"),
        (b'{"model": "m", "n": 1000000}', "n: must be 1 to 64 answers, not 1000000."),
        (b'{"model": "m", "n": "1000000"}', "n: must be 1 to 64 answers, not 1000000."),
        (b'{"model": "m", "stream": "perhaps"}', "stream: Input should be a valid boolean"),
        (b'{"model": "m", "stream_options": 3}', "stream_options: Input should be"),
    ],
)
def test_a_wrong_body_is_told_what_is_wrong(house, body, words):
    response = house.post(content=body)
    assert words in error(response, 400)["message"]
    assert house.inner.reached == []


def test_a_prompt_of_many_tokens_is_one_prompt(house):
    body = {"model": "m", "prompt": list(range(500)), "max_tokens": 0}
    assert house.post("/v1/completions", json=body).status_code == 200
    several = {"model": "m", "n": 9, "prompt": list("abcdefgh")}
    refused = error(house.post("/v1/completions", json=several), 400)
    assert "8 prompts with 9 answers each are more than the 64" in refused["message"]


def test_a_body_that_is_too_large_is_refused_declared_or_not(house):
    body = b'{"model": "' + b"m" * 10_000_000 + b'"}'
    limit = "must not be larger than 1048576 bytes"
    assert limit in error(house.post(content=body), 413)["message"]
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
    assert limit in error(house.post(content=pieces), 413)["message"]
    with house.connect() as connection:
        connection.sendall(house.head("content-length: 10000000"))
        assert raw_answer(connection).startswith(b"HTTP/1.1 413")
    assert house.inner.reached == []
    assert house.ask().status_code == 200


def test_a_body_that_fits_in_pieces_is_taken(house):
    body = json.dumps(house.body("u" * 500_000)).encode()
    pieces = (body[at : at + 9999] for at in range(0, len(body), 9999))
    assert house.post(content=pieces).status_code == 200
    assert len(house.inner.bodies[0]["messages"][0]["content"]) == 500_000


def test_a_document_may_be_larger_than_a_question(build):
    house = build(limits={"max_body_bytes": 1000, "max_document_bytes": 3000})
    assert house.post("/page/text", content=b"x" * 3000).content == b"x" * 3000
    assert error(house.post("/page/text", content=b"x" * 3001), 413)
    assert error(house.post("/page/tokens", content=b"x" * 1001), 413)


def test_a_body_that_does_not_come_is_not_waited_for(build):
    house = build(limits={"body_seconds": 1})
    with house.connect() as connection:
        connection.sendall(house.head("content-length: 100") + b'{"model"')
        answer = raw_answer(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"request_timeout"' in answer
    assert house.inner.reached == []
    assert house.ask().status_code == 200


def test_a_client_that_goes_while_it_sends_is_forgotten(build, visits):
    house = build(limits={"max_requests": 1})
    with house.connect() as connection:
        connection.sendall(house.head("content-length: 100") + b'{"model"')
    assert visits(1)[0]["ended"] == "client gone"
    assert house.ask().status_code == 200


def test_a_full_replica_says_when_to_come_again(build):
    house = build(limits={"max_requests": 1})
    with house.connect() as connection:
        connection.sendall(house.head("content-length: 100"))
        until(lambda: house.ask().status_code == 503)
        refused = house.ask()
    assert error(refused, 503)["code"] == "queue_full"
    assert refused.headers["retry-after"] == "1"
    until(lambda: house.ask().status_code == 200)


def test_a_key_is_held_to_its_limits(build):
    house = build(key=KeyLimits(requests_per_minute=2))
    assert [house.ask().status_code for _ in range(2)] == [200, 200]
    refused = house.ask()
    problem = error(refused, 429)
    assert problem["type"] == "rate_limit_error"
    assert "The key alice may have 2 requests per minute." in problem["message"]
    assert 55 <= int(refused.headers["retry-after"]) <= 60
    assert house.get("/v1/models").status_code == 200


def test_one_request_after_another_is_one_at_once(build):
    house = build(key=KeyLimits(concurrent=1))
    with httpx.Client(headers=house.headers) as client:
        for _ in range(20):
            with client.stream(
                "POST", house.url + "/v1/completions", json=house.body(stream=True)
            ) as r:
                assert r.status_code == 200
                assert "[DONE]" in next(line for line in r.iter_lines() if "[DONE]" in line)
    with house.connect() as connection:
        connection.sendall(house.question("endless"))
        until(lambda: house.inner.generating == 1)
        assert "The key alice may have 1 requests at once." in error(house.ask(), 429)["message"]


def test_the_tokens_of_answers_count(build):
    house = build(key=KeyLimits(tokens_per_minute=11))
    assert house.ask(stream=True).status_code == 200  # 10 tokens
    assert house.ask().status_code == 200
    assert "11 tokens per minute" in error(house.ask(), 429)["message"]


def test_errors_of_the_inner_app_get_the_shape(house):
    unknown = error(house.ask("unknown model"), 404)
    assert unknown["message"] == "The model `x` does not exist."
    assert (unknown["param"], unknown["code"]) == ("model", "model_not_found")
    assert error(house.ask("detail"), 422)["message"] == "Not so."
    assert error(house.ask("details"), 422)["message"] == "body.top_p: too high"
    assert len(error(house.ask("wordy"), 400)["message"]) == 2000
    for mood in ("text", "raise"):
        failed = house.ask(mood)
        assert error(failed, 500)["type"] == "server_error"
        assert "secret" not in failed.text


def test_a_request_that_the_engine_gave_up_is_wrong_if_it_has_a_grammar(house):
    assert error(house.ask("given up"), 500)["type"] == "server_error"
    assert error(house.ask("given up", response_format={"type": "text"}), 500)
    for grammar in (
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"choice": ["a", "b"]}},
    ):
        problem = error(house.ask("given up", **grammar), 400)
        assert problem["code"] == "invalid_grammar"
        assert problem["message"].startswith("No answer could follow the grammar of this request")


def test_a_prompt_that_is_too_long_is_told_its_length(build):
    counted = []

    async def count(body):
        counted.append(body)
        return 4321

    house = build(count=count)
    problem = error(house.ask("too long", max_tokens=16), 400)
    assert problem["code"] == "context_length_exceeded"
    assert problem["message"] == (
        "This model's maximum context length is 1000 tokens. The prompt has 4321 tokens and 16 "
        "more are asked for, 4337 in all: 3337 too many."
    )
    assert counted[0]["max_tokens"] == 16
    problem = error(house.ask("too long"), 400)
    assert problem["message"].endswith("The prompt has 4321 tokens: 3321 too many.")
    house.ask()
    assert len(counted) == 2


def test_the_engine_has_the_word_where_the_count_disagrees_or_fails(build):
    async def count(body):
        return 5 // body["max_tokens"]

    house = build(count=count)
    assert error(house.ask("too long", max_tokens=1), 400)["message"] == TOO_LONG
    assert error(house.ask("too long", max_tokens=0), 400)["message"] == TOO_LONG


def test_a_time_limit_ends_the_work_and_is_told(build, visits):
    house = build(limits={"request_seconds": 0.2})
    assert error(house.ask("endless"), 504)["code"] == "time_limit"
    until(lambda: house.inner.generating == 0)
    assert visits(1)[0]["ended"] == "time limit"


def test_an_app_that_is_deaf_is_cancelled(build):
    house = build(limits={"request_seconds": 0.1, "grace_seconds": 0.1})
    assert error(house.ask("deaf"), 504)["code"] == "time_limit"
    assert house.inner.generating == 0


def test_other_sites_are_let_in_by_name(build):
    house = build(limits={"allow_origins": ["https://friend"]})
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    path = house.url + "/v1/chat/completions"
    friend = httpx.options(path, headers=asked | {"origin": "https://friend"})
    assert friend.headers["access-control-allow-origin"] == "https://friend"
    other = httpx.options(path, headers=asked | {"origin": "https://other"})
    assert "access-control-allow-origin" not in other.headers
    answer = house.post(json={"model": "m"}, headers=house.headers | {"origin": "https://friend"})
    assert answer.headers["access-control-allow-origin"] == "https://friend"


def test_the_access_log_has_a_line_of_facts_a_request(house, visits):
    begun = time.time()
    secret = "the prompt's own words"
    house.post(
        json={"model": "m", "messages": [{"role": "user", "content": secret}]},
        headers=house.headers | {"x-request-id": "my-id.1"},
    )
    house.ask(secret, stream=True)
    house.get(f"/nowhere/{house.token}", params={"key": house.token})
    whole, stream, nowhere = visits(3)
    assert whole["request_id"] == "my-id.1"
    assert (whole["key"], whole["method"], whole["path"]) == (
        "alice",
        "POST",
        "/v1/chat/completions",
    )
    assert (whole["status"], whole["ended"], whole["stream"]) == (200, "done", False)
    assert (whole["prompt_tokens"], whole["completion_tokens"]) == (7, 3)
    assert whole["client"] == "127.0.0.1" and whole["bytes_in"] > 50 and whole["bytes_out"] > 50
    assert 0 < whole["first_byte_seconds"] <= whole["seconds"] < time.time() - begun
    assert (stream["stream"], stream["prompt_tokens"], stream["completion_tokens"]) == (True, 7, 3)
    assert (nowhere["status"], nowhere["ended"], nowhere["key"]) == (404, "refused", "")
    everything = json.dumps([whole, stream, nowhere])
    assert secret not in everything and house.token not in everything
