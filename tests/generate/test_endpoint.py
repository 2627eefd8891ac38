"""An OpenAI-compatible server: its replies, and every way it can fail."""

import json

import pyarrow as pa
import pytest
from pydantic import SecretStr

from longspan.errors import UserError
from longspan.generate.endpoint import (
    EndpointAccess,
    EndpointBatches,
    EndpointClient,
    checked_window,
    probe,
)
from longspan.generate.requests import Reply, Request, Sampling
from longspan.generate.schema import Endpoint
from longspan.instruct.verdicts import verdict_schema
from tests.instruct.server import MODEL, REFUSED, serving
from tests.instruct.texts import story
from tests.openai_server import Body, Completion, OpenAIServer, Refusal

KEY = SecretStr("let-me-in")
FREE = Sampling(64, 0.7, 0.9, stop=("</answer>",))


def access(server: OpenAIServer, window: int | None = None, **values: object) -> EndpointAccess:
    facts = {"url": server.url, "model": MODEL, "key_variable": "TEST_API_KEY", "retries": 2}
    return EndpointAccess(
        Endpoint.model_validate(facts | values), KEY, "generator.endpoint", window
    )


def call(access: EndpointAccess, *contents: str, sampling: Sampling = FREE) -> list[Reply]:
    rows = [
        Request(str(number), sampling, number + 1, content).row()
        for number, content in enumerate(contents)
    ]
    return list(
        map(Reply.from_row, EndpointBatches(access)(pa.Table.from_pylist(rows)).to_pylist())
    )


def failure(reply: Reply) -> tuple[str, str]:
    assert reply.failure is not None and reply.text == reply.finish_reason == ""
    return reply.failure.kind, reply.failure.message


def test_replies_come_with_their_tokens_and_bad_rows_by_themselves() -> None:
    with serving(key="let-me-in") as server:
        assert probe(access(server)) is None
        replies = call(access(server), story(1, 5), f"{REFUSED} in house 3", story(2, 5))
    assert [reply.id for reply in replies] == ["0", "1", "2"]
    assert replies[0].text.startswith("<question>What did ")
    assert (replies[0].prompt_tokens, replies[0].reply_tokens) == (100, 20)
    assert replies[0].failure is None and replies[0].finish_reason == "stop"
    kind, message = failure(replies[1])
    assert kind == "refused" and message.startswith("refused by the endpoint (status 400): ")
    assert "this content is refused" in message
    assert replies[2].failure is None


def test_a_verdict_is_asked_for_as_json() -> None:
    constrained = Sampling(64, 0.0, schema=json.dumps(verdict_schema()))
    with serving(key="let-me-in") as server:
        (reply,) = call(access(server), story(1, 5), sampling=constrained)
    assert json.loads(reply.text)["score"] == 5


def test_a_busy_server_is_asked_again() -> None:
    with serving(key="let-me-in") as server:
        server.busy = 2
        (reply,) = call(access(server), story(1, 5))
        assert reply.failure is None
        server.busy = 99
        (reply,) = call(access(server, retries=1), story(1, 5))
    assert failure(reply) == ("unanswered", "no answer from the endpoint (status 503)")


def test_a_server_that_is_gone_may_come_back() -> None:
    with serving() as server:
        gone = access(server, retries=0)
    (reply,) = call(gone, story(1, 5))
    assert failure(reply) == ("unanswered", "no answer from the endpoint (APIConnectionError)")
    with pytest.raises(UserError, match=r"generator\.endpoint\.url: nothing answers at http"):
        probe(gone)


def test_a_wrong_key_or_model_is_told_without_the_key() -> None:
    with serving(key="another") as server:
        with pytest.raises(
            UserError, match=r"refuses access .*check the value of TEST_API_KEY"
        ) as error:
            probe(access(server))
        (reply,) = call(access(server), story(1, 5))
    kind, message = failure(reply)
    assert kind == "denied" and message == str(error.value)
    assert "let-me-in" not in message
    with serving(key="let-me-in") as server, pytest.raises(UserError, match="it has storyteller"):
        probe(access(server, model="other"))


def test_a_redirect_is_followed_neither_with_the_key_nor_with_the_prompt() -> None:
    with serving() as elsewhere, serving(key="let-me-in") as server:
        server.redirect = elsewhere.url
        with pytest.raises(UserError, match=r"redirects to 'http.*give the address where"):
            probe(access(server))
        (reply,) = call(access(server), story(1, 5))
        assert failure(reply)[0] == "denied"
        assert elsewhere.requests == 0


def test_a_prompt_of_token_ids_goes_to_the_completion_api_with_its_own_sampling() -> None:
    asked: list[Body] = []

    def answer(body: Body) -> Completion:
        asked.append(body)
        return Completion("seven", "length", prompt_tokens=3, reply_tokens=5)

    with OpenAIServer(MODEL, answer) as server:
        client = EndpointClient(access(server))
        requests = [
            Request("a", Sampling(5, 0.0, stop=("\n", "Q:")), 11, prompt_ids=[4, 2, 9]),
            Request("b", Sampling(7, 0.0), 12, prompt_ids=[4]),
            Request("c", Sampling(9, 0.0), 13, "Hello", prompt_ids=[4, 2, 9]),
        ]
        replies = [client.respond(request) for request in requests]
    common = {"model": MODEL, "temperature": 0.0, "top_p": 1.0}
    first = {"prompt": [4, 2, 9], "max_tokens": 5, "seed": 11, "stop": ["\n", "Q:"]}
    assert asked == [
        common | first,
        common | {"prompt": [4], "max_tokens": 7, "seed": 12},
        common | {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9, "seed": 13},
    ]
    assert {reply.finish_reason for reply in replies} == {"length"}
    # A server that counts too few tokens of a reply that was cut off is corrected.
    assert [reply.reply_tokens for reply in replies] == [5, 7, 9]


def test_a_prompt_that_does_not_fit_is_never_sent() -> None:
    with OpenAIServer(MODEL, lambda body: Completion("yes"), window=64) as server:
        client = EndpointClient(access(server, window=64))
        for content in ("", "Hello"):
            fits = Request("a", Sampling(4, 0.0), 1, content, prompt_ids=list(range(60)))
            assert client.respond(fits).text == "yes"
            over = Request("b", Sampling(4, 0.0), 1, content, prompt_ids=list(range(61)))
            reply = client.respond(over)
            kind, message = failure(reply)
            assert kind == "over_length" and reply.prompt_tokens == 61
            assert (
                "61 tokens of prompt and up to 4 of reply" in message and "of 64 tokens" in message
            )
        assert server.requests == 2


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal("This model's maximum context length is 64 tokens. However, you requested 65"),
        Refusal("too long", code="context_length_exceeded"),
    ],
    ids=["message", "code"],
)
def test_a_server_that_finds_a_prompt_too_long_is_understood(refusal: Refusal) -> None:
    def answer(body: Body) -> Completion:
        raise refusal

    with OpenAIServer(MODEL, answer) as server:
        (reply,) = call(access(server), "Hello")
    assert failure(reply)[0] == "over_length"


def test_the_window_that_a_server_states_is_compared() -> None:
    with OpenAIServer(MODEL, lambda body: Completion(""), window=4096) as server:
        assert checked_window(4096, access(server), "window") == 4096
        with pytest.raises(UserError, match=r"^window: 4,097 tokens are more than .* 4,096 that"):
            checked_window(4097, access(server), "window")
    with OpenAIServer(MODEL, lambda body: Completion("")) as server:
        assert checked_window(10**9, access(server), "window") is None
