"""vLLM with prompts of token ids: what transformers generates, each with its own sampling; nothing cut silently."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longspan.chat.token_probe import TokenProbe
from longspan.generate.cluster import EngineModel, end_tokens, engine_on_cluster
from longspan.generate.engine_report import ExpectedModel
from longspan.generate.generators import EngineGenerator
from longspan.generate.requests import Reply, Request, Row, Sampling
from longspan.generate.schema import EnginePool
from longspan.storage import Store
from tests.tiny import TEXT, make_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]

MODEL_WINDOW, WINDOW = 256, 512


class Given:
    """Requests that are given, one for each item."""

    def __init__(self, requests: list[Request]) -> None:
        self._requests = requests

    def requests(self, item: Row) -> Iterator[Request]:
        yield self._requests[item["number"]]

    def record(self, reply: Reply) -> Row:
        return reply.row()


def greedy(model: Any, prompt: list[int], tokens: int) -> list[int]:
    """Token ids that transformers generates at temperature 0."""
    import torch

    ids = torch.tensor([prompt])
    with torch.inference_mode():
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False
        )
    return out[0, len(prompt) :].tolist()


def readable(model: Any, tokenizer: Any, ids: list[int], length: int, tokens: int) -> list[int]:
    """The first prompt of a length whose reply is whole characters: others are decoded in more than one way."""
    prompts = (ids[first : first + length] for first in range(len(ids) - length))
    return next(
        prompt
        for prompt in prompts
        if "\ufffd" not in tokenizer.decode(greedy(model, prompt, tokens))
    )


def test_token_ids_are_answered_as_transformers_does(tmp_path: Path, ray_session: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = make_tiny_model(tmp_path / "model", window=MODEL_WINDOW, tied=False)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    ids = tokenizer(" ".join(TEXT) * 4, add_special_tokens=False)["input_ids"]
    prompt = readable(model, tokenizer, ids, 40, 12)
    written = tokenizer.decode(greedy(model, prompt, 12))
    stop = next(part for part in written[4:] if part not in written[:4])
    requests = [
        Request("short", Sampling(3, 0.0), 1, prompt_ids=prompt),
        Request("long", Sampling(12, 0.0), 2, prompt_ids=prompt),
        Request("stopped", Sampling(12, 0.0, stop=("never", stop)), 3, prompt_ids=prompt),
        Request("beyond", Sampling(4, 0.0), 4, prompt_ids=readable(model, tokenizer, ids, 400, 4)),
        Request(
            "full", Sampling(4, 0.0), 5, prompt_ids=readable(model, tokenizer, ids, WINDOW - 4, 4)
        ),
        Request("over", Sampling(4, 0.0), 6, prompt_ids=ids[: WINDOW - 3]),
        Request("turn", Sampling(4, 0.0), 7, content="Which ship came first?"),
    ]
    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    expected = ExpectedModel("tiny", "model", rope, TokenProbe.of(tokenizer))
    asked = EngineModel(
        *(str(folder), "model", WINDOW, {"dtype": "float32"}),
        end_tokens=end_tokens(folder),
        model_window=MODEL_WINDOW,
        expected=expected,
    )
    engine = engine_on_cluster(asked, EnginePool(batch=4), Store(str(tmp_path)), print)
    reports: list[str] = []
    generator = EngineGenerator(
        *(engine, "model", lambda turn: tokenizer(turn)["input_ids"]), on_report=reports.append
    )
    items = [{"number": number} for number in range(len(requests))]
    found = {
        row["id"]: row
        for rows in generator.records(items, Given(requests), "given")
        for row in rows
    }
    assert found.keys() == {request.id for request in requests}
    assert not {id for id, row in found.items() if row["failure"]} - {"over"}, found

    for request in requests:
        if request.id in ("short", "long", "beyond", "full"):
            wanted = greedy(model, request.prompt_ids, request.sampling.max_tokens)
            row = found[request.id]
            assert row["text"] == tokenizer.decode(wanted, skip_special_tokens=True), request.id
            assert row["prompt_tokens"] == len(request.prompt_ids)
            assert row["reply_tokens"] == len(wanted)
            ended = wanted[-1] in engine.end_tokens
            assert row["finish_reason"] == ("stop" if ended else "length"), request.id
    assert found["stopped"]["text"] == written[: written.index(stop)]
    assert found["stopped"]["finish_reason"] == "stop"
    over = found["over"]
    assert (over["failure"], over["prompt_tokens"], over["text"]) == ("over_length", WINDOW - 3, "")
    assert (
        "509 tokens of prompt and up to 4 of reply are more than the window of 512"
        in over["message"]
    )
    assert found["turn"]["prompt_tokens"] == len(tokenizer("Which ship came first?")["input_ids"])

    (report,) = map(json.loads, reports)
    assert report.pop("vllm")
    assert report == {
        "window": WINDOW,
        "rope": rope,
        "dtype": "float32",
        "tokens": expected.tokens.hashes,
    }


def test_an_engine_that_has_loaded_another_model_answers_nothing(
    tmp_path: Path, ray_session: str
) -> None:
    from transformers import AutoTokenizer

    folder = make_tiny_model(tmp_path / "model", window=MODEL_WINDOW, rope_base=1000.0)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    asked = EngineModel(
        *(str(folder), "model", MODEL_WINDOW, {"dtype": "float32"}),
        expected=ExpectedModel("tiny", "model", rope, TokenProbe.of(tokenizer)),
    )
    engine = engine_on_cluster(asked, EnginePool(), Store(str(tmp_path)), print)
    reports: list[str] = []
    generator = EngineGenerator(engine, "model", on_report=reports.append)
    request = Request("a", Sampling(4, 0.0), 1, prompt_ids=[5, 6, 7])
    ((row,),) = generator.records([{"number": 0}], Given([request]), "given")
    assert (row["failure"], row["text"], reports) == ("denied", "", [])
    assert row["message"].startswith("model: vLLM has loaded 'tiny' otherwise")
    assert "rope_theta is 10000.0 in config.json, 1000.0 in the engine" in row["message"]
    assert "the chat template makes" in row["message"]
