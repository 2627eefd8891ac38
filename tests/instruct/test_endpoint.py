"""An OpenAI-compatible server as the generator: its replies, and every way it can fail."""

import json

import pyarrow as pa
import pytest
from pydantic import SecretStr

from longspan.errors import UserError
from longspan.instruct.endpoint import AGAIN, DENIED, Caller, probe
from longspan.instruct.requests import Row, Sampling
from longspan.instruct.schema import Endpoint
from longspan.instruct.verdicts import verdict_schema
from tests.instruct.server import MODEL, REFUSED, Server, serving
from tests.instruct.texts import story

KEY = SecretStr("let-me-in")
FREE = Sampling(64, 0.7, 0.9, stop="</answer>")


def endpoint(server: Server, **values: object) -> Endpoint:
    facts = {"url": server.url, "model": MODEL, "key_variable": "TEST_API_KEY", "retries": 2}
    return Endpoint.model_validate(facts | values)


def call(
    endpoint: Endpoint, *contents: str, key: SecretStr = KEY, sampling: Sampling = FREE
) -> list[Row]:
    rows = [
        {"id": str(number), "content": content, "seed": number + 1, "carry": "{}"}
        for number, content in enumerate(contents)
    ]
    return Caller(endpoint, key, sampling)(pa.Table.from_pylist(rows)).to_pylist()


def test_replies_come_with_their_tokens_and_bad_rows_by_themselves() -> None:
    with serving(key="let-me-in") as server:
        probe(endpoint(server), KEY)
        rows = call(endpoint(server), story(1, 5), f"{REFUSED} in house 3", story(2, 5))
    assert [row["id"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["reply"].startswith("<question>What did ")
    assert (rows[0]["prompt_tokens"], rows[0]["reply_tokens"], rows[0]["problem"]) == (100, 20, "")
    assert rows[1]["problem"].startswith("refused by the endpoint (status 400): ")
    assert "this content is refused" in rows[1]["problem"]
    assert rows[2]["problem"] == ""


def test_a_verdict_is_asked_for_as_json() -> None:
    constrained = Sampling(64, 0.0, schema=json.dumps(verdict_schema()))
    with serving(key="let-me-in") as server:
        (row,) = call(endpoint(server), story(1, 5), sampling=constrained)
    assert json.loads(row["reply"])["score"] == 5


def test_a_busy_server_is_asked_again() -> None:
    with serving(key="let-me-in") as server:
        server.busy = 2
        (row,) = call(endpoint(server), story(1, 5))
        assert row["problem"] == ""
        server.busy = 99
        (row,) = call(endpoint(server, retries=1), story(1, 5))
    assert row["problem"] == f"{AGAIN} (status 503)"


def test_a_server_that_is_gone_may_come_back() -> None:
    with serving() as server:
        gone = endpoint(server, retries=0)
    (row,) = call(gone, story(1, 5))
    assert row["problem"].startswith(AGAIN)
    with pytest.raises(UserError, match=r"generator\.endpoint\.url: nothing answers at http"):
        probe(gone, KEY)


def test_a_wrong_key_or_model_is_told_without_the_key() -> None:
    with serving(key="another") as server:
        with pytest.raises(
            UserError, match=r"does not let this job in .*look at what TEST_API_KEY holds"
        ) as error:
            probe(endpoint(server), KEY)
        (row,) = call(endpoint(server), story(1, 5))
    assert row["problem"].startswith(DENIED)
    assert "let-me-in" not in str(error.value) + row["problem"]
    with serving(key="let-me-in") as server, pytest.raises(UserError, match="it has storyteller"):
        probe(endpoint(server, model="other"), KEY)


def test_a_redirect_is_followed_neither_with_the_key_nor_with_the_prompt() -> None:
    with serving() as elsewhere, serving(key="let-me-in") as server:
        server.redirect = elsewhere.url
        with pytest.raises(UserError, match=r"redirects to 'http.*give the address where"):
            probe(endpoint(server), KEY)
        (row,) = call(endpoint(server), story(1, 5))
        assert row["problem"].startswith(DENIED)
        assert elsewhere.requests == 0
