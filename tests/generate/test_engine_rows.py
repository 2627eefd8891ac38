"""Rows before and after vLLM: what the engine is given, and why a reply ended; no engine is started."""

import json
from pathlib import Path
from typing import Any

import pytest

from longspan._compat.ray_data_llm import ERROR_COLUMN
from longspan.generate.cluster import end_tokens
from longspan.generate.engine import Engine, _Prepare, _Reply, sampling_parameters
from longspan.generate.requests import Reply, Request, Sampling

END = 2


def reply(sampling: Sampling, text: str, tokens: list[int], **row: Any) -> Reply:
    """The reply that an engine's output becomes."""
    prepared = Request("a", sampling, 1).row() | {
        ERROR_COLUMN: "",
        "failure": "",
        "known_tokens": 3,
    }
    generated = {
        "generated_text": text,
        "generated_tokens": tokens,
        "num_generated_tokens": len(tokens),
        "num_input_tokens": 3,
    }
    return Reply.from_row(_Reply(frozenset({END}))(prepared | generated | row))


@pytest.mark.parametrize(
    ("sampling", "text", "tokens", "ended"),
    [
        (Sampling(4, 0.0), "one two", [5, 6], ("one two", "stop")),
        (Sampling(2, 0.0), "one two", [5, 6], ("one two", "length")),
        (Sampling(2, 0.0), "one", [5, END], ("one", "stop")),
        (Sampling(2, 0.0, stop=("?", "\n")), "one\n", [5, 6], ("one", "stop")),
        (Sampling(2, 0.0, stop=("\n",), include_stop=True), "one\n", [5, 6], ("one\n", "stop")),
    ],
    ids=["short", "cut off", "end token", "stop string", "stop string kept"],
)
def test_a_reply_says_why_it_ended(
    sampling: Sampling, text: str, tokens: list[int], ended: tuple[str, str]
) -> None:
    found = reply(sampling, text, tokens)
    assert (found.text, found.finish_reason) == ended
    assert (found.prompt_tokens, found.reply_tokens) == (3, len(tokens))


def test_a_row_without_a_reply_keeps_its_reason_and_its_prompt_s_length() -> None:
    over = reply(Sampling(4, 0.0), "", [], failure="over_length", **{ERROR_COLUMN: "too long"})
    assert over.failure and (over.failure.kind, over.failure.message) == ("over_length", "too long")
    assert over.prompt_tokens == 3
    refused = reply(Sampling(4, 0.0), "", [], **{ERROR_COLUMN: "ValueError:  bad\nthing"})
    assert refused.failure and refused.failure.kind == "refused"
    assert refused.failure.message == "refused by the engine: ValueError: bad thing"


def test_a_request_without_a_prompt_passes_the_engine_by() -> None:
    request = Request("a", Sampling(4, 0.0), 1, carry="{}", problem="too little text")
    prepared = _Prepare(window=8, render=None)(request.row())
    assert prepared[ERROR_COLUMN] == "too little text" and prepared["tokenized_prompt"]
    found = Reply.from_row(_Reply(frozenset())(request.row() | prepared))
    assert found.failure and found.failure.kind == "no_prompt"
    assert (found.failure.message, found.prompt_tokens) == ("too little text", 0)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("ValueError: bad", "refused"),
        ("VLLMValidationError: too many (parameter=max_tokens)", "refused"),
        ("RuntimeError: CUDA error: an illegal memory access", "engine_error"),
        ("OutOfMemoryError: CUDA out of memory", "engine_error"),
        ("CancelledError: ", "engine_error"),
    ],
)
def test_only_what_is_wrong_with_a_request_is_a_refusal(error: str, kind: str) -> None:
    found = reply(Sampling(4, 0.0), "", [], **{ERROR_COLUMN: error})
    assert found.failure and found.failure.kind == kind
    assert error.split(":")[0] in found.failure.message


def test_stop_strings_are_left_to_the_engine_with_their_text() -> None:
    parameters = sampling_parameters(Sampling(4, 0.0, stop=("a", "b")))
    assert parameters["stop"] == ["a", "b"] and parameters["include_stop_str_in_output"]
    assert "stop" not in sampling_parameters(Sampling(4, 0.0))


@pytest.mark.parametrize(
    ("window", "batch", "batches"), [(4096, 16, 32), (131_072, 16, 4), (2**20, 16, 2)]
)
def test_an_engine_is_given_fewer_long_prompts_at_a_time(
    window: int, batch: int, batches: int
) -> None:
    assert Engine("m", window, gpu=True, batch=batch).batches_at_once() == batches


def test_end_tokens_are_those_of_both_configs(tmp_path: Path) -> None:
    assert end_tokens(tmp_path) == ()
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 7}))
    assert end_tokens(tmp_path) == (7,)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [9, 7]}))
    assert end_tokens(tmp_path) == (7, 9)


def test_a_window_beyond_the_model_s_own_extends_its_positions_and_nothing_else() -> None:
    longer = Engine("/m", 512, gpu=True, model_window=256).engine_kwargs()
    assert longer.pop("hf_overrides") == {"max_position_embeddings": 512}
    assert longer == Engine("/m", 512, gpu=True, model_window=512).engine_kwargs()
