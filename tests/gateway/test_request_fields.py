"""Which fields of a body reach the engine, within which bounds."""

import ast
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from longspan.serve.gateway.body import Question, parse
from longspan.serve.gateway.errors import Refusal
from longspan.serve.gateway.limits import GatewayLimits
from longspan.serve.gateway.request_fields import IGNORED, REFUSED, ChatFields, CompletionFields

WINDOW = 8192
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
TEXT = {"model": "m", "prompt": "hello"}


def chat(limits: Any = None, **more: Any) -> Question:
    return parse(json.dumps(ASKED | more).encode(), limits or GatewayLimits(), WINDOW)


def completion(limits: Any = None, **more: Any) -> Question:
    body = json.dumps(TEXT | more).encode()
    return parse(body, limits or GatewayLimits(), WINDOW, CompletionFields)


def fields_of(path: str, name: str) -> set[str]:
    """Fields that a class of vLLM's declares, read without importing it."""
    found = find_spec("vllm")
    assert found is not None and found.submodule_search_locations
    source = Path(found.submodule_search_locations[0], path).read_text()
    (model,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    names = {
        node.target.id
        for node in model.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return {each for each in names if not each.startswith("_")}


@pytest.mark.parametrize(
    ("path", "name", "ours"),
    [
        ("chat_completion/protocol.py", "ChatCompletionRequest", ChatFields),
        ("completion/protocol.py", "CompletionRequest", CompletionFields),
    ],
)
def test_every_field_of_the_engine_is_decided(path, name, ours):
    known = fields_of(f"entrypoints/openai/{path}", name)
    assert len(known) > 30
    decided = ours.model_fields.keys() | IGNORED | REFUSED.keys()
    assert known - decided == set()
    # What is forwarded means something there; `length_penalty` and the like are of both.
    assert ours.model_fields.keys() - known == set()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_fields_that_would_change_the_answer_are_refused_with_what_to_do(name):
    for ask in (chat, completion):
        with pytest.raises(Refusal, match=f"^{name}: .*[;,]") as refused:
            ask(**{name: 1})
        assert refused.value.param == name
        assert name not in ask(**{name: None}).body


@pytest.mark.parametrize("name", [*sorted(IGNORED), "enable_thinking", "safe_prompt"])
def test_fields_that_clients_send_along_are_not_forwarded(name):
    for ask in (chat, completion):
        assert name not in ask(**{name: 3}).body


def test_a_mistyped_field_is_named():
    with pytest.raises(
        Refusal, match="max_token: is not a field of this API; did you mean max_tokens"
    ):
        chat(max_token=5)
    with pytest.raises(Refusal, match="100 unknown fields"):
        chat(**{f"x-{number}": 1 for number in range(100)})


ORDINARY: dict[str, dict[str, Any]] = {
    "openai": {
        "max_completion_tokens": 100,
        "parallel_tool_calls": True,
        "reasoning_effort": "low",
        "store": False,
        "metadata": {"a": "b"},
        "service_tier": "auto",
        "safety_identifier": "x",
        "prompt_cache_key": "y",
        "verbosity": "low",
        "user": "u",
    },
    "langchain": {"n": 1, "temperature": 0.7, "stream": False, "stop": ["\n"], "best_of": 1},
    "litellm": {"top_p": 1, "frequency_penalty": 0, "logit_bias": None, "functions": None},
    "vllm bench": {
        "max_completion_tokens": 64,
        "temperature": 0.0,
        "repetition_penalty": 1.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    },
    "qwen": {"chat_template_kwargs": {"enable_thinking": False}, "top_k": 20, "min_p": 0},
    "an agent": {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}] * 60,
        "messages": [
            {"role": "user", "content": "storm"},
            {
                "role": "assistant",
                "content": "wind",
                "reasoning_content": "ship",
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "rain"}]},
        ],
    },
    "a schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "x",
                "schema": {
                    "type": "object",
                    "properties": {
                        "day": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
                        "mail": {"type": "string", "pattern": r"^[\w.+-]+@[\w-]+\.[\w.]{2,}$"},
                        "note": {"type": "string", "maxLength": 200},
                    },
                },
            },
        }
    },
}


@pytest.mark.parametrize("client", ORDINARY)
def test_ordinary_clients_are_served(client):
    body = chat(**ORDINARY[client]).body
    for name, value in ORDINARY[client].items():
        if name in ("tools", "messages", "temperature", "response_format"):
            assert body[name] == value


def test_what_is_parsed_is_what_is_forwarded():
    body = chat(n="3", max_tokens=5.0, stream="false", temperature="0.5", logprobs="true").body
    shown = {name: body[name] for name in ("n", "max_tokens", "stream", "temperature", "logprobs")}
    assert shown == {
        "n": 3,
        "max_tokens": 5,
        "stream": False,
        "temperature": 0.5,
        "logprobs": True,
    }
    assert completion(prompt=[1, 2.0]).body["prompt"] == [1, 2]
    assert completion(prompt=["a", "b"], n=2).num_answers == 4
    assert completion(structured_outputs={"json": {"type": "object"}}).body[
        "structured_outputs"
    ] == {"json": {"type": "object"}}


@pytest.mark.parametrize(
    "more",
    [
        {"stop": list("abcde")},
        {"stop": ["x" * 1025]},
        {"stop": ""},
        {"logit_bias": {str(token): 1 for token in range(1025)}},
        {"allowed_token_ids": list(range(1025))},
        {"stop_token_ids": list(range(129))},
        {"stop_token_ids": [-1]},
        {"bad_words": ["x"] * 129},
        {"bad_words": ["x" * 257]},
        {"logprob_token_ids": list(range(21)), "logprobs": 1},
        {"repetition_detection": {"max_pattern_size": 10**6, "min_count": 2}},
        {"min_tokens": 10**6},
        {"thinking_token_budget": 2**40},
        {"truncate_prompt_tokens": -2},
        {"cache_salt": ""},
        {"model": "m" * 2000},
        {"best_of": 5},
        {"n": 65},
        {"n": -1},
        {"max_tokens": WINDOW + 1},
        {"max_tokens": None, "min_tokens": "x"},
    ],
)
def test_values_out_of_bounds_are_refused_by_name(more):
    for ask in (chat, completion):
        with pytest.raises(Refusal) as refused:
            ask(**more)
        assert refused.value.status == 400
        assert refused.value.param and refused.value.param.split(".")[0] in more


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": "user", "content": "x"}] * (WINDOW + 1)},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]},
        {"messages": [{"role": "user", "content": [{"image_url": "http://169.254.169.254/"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "prompt_embeds", "data": "x"}]}]},
        {"chat_template_kwargs": {"chat_template": "{{ x }}"}},
        {"chat_template_kwargs": {"tokenize": True}},
        {"chat_template_kwargs": {"x": ["a"] * 1000}},
        {"chat_template_kwargs": {f"x{n}": 1 for n in range(17)}},
        {"documents": [{"text": "x"}] * 257},
        {"tools": [{"type": "function"}] * 129},
        {"top_logprobs": 21, "logprobs": True},
        {"top_logprobs": -1, "logprobs": True},
    ],
)  # fmt: skip
def test_values_out_of_bounds_in_a_chat(more):
    with pytest.raises(Refusal) as refused:
        chat(**more)
    assert refused.value.param and refused.value.param.split(".")[0] in more


@pytest.mark.parametrize(
    ("ask", "more"),
    [
        (completion, {"prompt_logprobs": 1}),
        (completion, {"prompt_logprobs": 0}),
        (completion, {"prompt_logprobs": -1}),
        (completion, {"prompt_logprobs": True}),
        (completion, {"prompt_logprobs": "5"}),
        (completion, {"echo": True, "logprobs": 1, "max_tokens": 0}),
        (completion, {"echo": True, "logprobs": 0}),
        (chat, {"prompt_logprobs": 5}),
        (chat, {"echo": True, "logprobs": True}),
        (chat, {"echo": True, "logprobs": True, "top_logprobs": 5}),
    ],
)
def test_log_probabilities_of_prompts_are_not_served_unless_allowed(ask, more):
    with pytest.raises(Refusal, match=r"limits\.max_prompt_logprobs|must be 0 to 20"):
        ask(**more)


def test_the_prompt_in_an_answer_costs_no_log_probabilities():
    # The engine reads `echo` of a chat as `prompt_logprobs: 0`, unless `top_logprobs` is null.
    assert chat(echo=True).body["top_logprobs"] is None
    assert completion(echo=True).body["echo"] is True


def test_an_evaluation_that_scores_texts_is_served_where_that_is_allowed():
    limits = GatewayLimits(max_prompt_logprobs=1)
    asked = {"prompt": [[1, 2, 3]] * 8, "echo": True, "logprobs": 1, "max_tokens": 1, "seed": 1}
    assert completion(limits, **asked, temperature=0).num_answers == 8
    with pytest.raises(Refusal, match="at most 1 log probabilities of a prompt"):
        completion(limits, **asked | {"logprobs": 2})
    # A prompt's values are repeated in each of n answers.
    with pytest.raises(Refusal, match="prompt_logprobs: up to 786432 values"):
        completion(limits, prompt=[7] * 6144, n=64, prompt_logprobs=1)


def test_an_answer_holds_no_more_log_probabilities_than_there_may_be():
    with pytest.raises(Refusal, match="max_tokens: 8000 tokens with 1344 log probabilities each"):
        chat(n=64, logprobs=True, top_logprobs=20, max_tokens=8000)
    # Where a request does not say how long its answer may be, that is bounded.
    assert chat(n=64, logprobs=True, top_logprobs=20).body["max_completion_tokens"] == 223
    assert "max_completion_tokens" not in chat(logprobs=True, top_logprobs=5).body
    with pytest.raises(Refusal, match="echo: 64 answers would repeat a prompt this long"):
        completion(echo=True, n=64, prompt="x" * 20_000)


NEST: dict[str, Any] = {"type": "string"}
for _ in range(40):
    NEST = {"type": "array", "items": NEST}


def wide(number: int, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {f"p{n}": {"type": "string"} for n in range(number)},
    } | more


def lengths(number: int) -> dict[str, Any]:
    properties = {f"p{n}": {"type": "string", "maxLength": 1000 + n} for n in range(number)}
    return {"type": "object", "properties": properties}


def pattern(text: str) -> dict[str, Any]:
    return {"type": "string", "pattern": text}


HOSTILE: dict[str, dict[str, Any]] = {
    "many optional properties": wide(1000),
    "a few more than compile in a second": wide(129),
    "many in several objects": {"anyOf": [wide(100), wide(100)]},
    "a bounded number of properties": wide(60, minProperties=30),
    "deep": NEST,
    "large": {"enum": ["x" * 100] * 200},
    "lengths": lengths(5),
    "optional characters": pattern(".?" * 50),
    "optional characters in a group": pattern("(.?){50}"),
    "one or two characters": pattern(".{1,2}" * 50),
    "a choice of characters": pattern("(.|..)" * 30),
    "stars": pattern(".*" * 100),
    "stars of other characters": pattern("".join(f"[^{letter}]*" for letter in "abcdefgh") * 50),
    "nested repetitions": pattern("((([ab]{99}){99}){99}){99}"),
    "many patterns": {"anyOf": [pattern(f"[^a]{{{n}}}") for n in range(100, 110)]},
    "patterns of names": {"patternProperties": {".?" * 50: {}}},
}
SLOW = {
    "regex": {"regex": ".?" * 50},
    "grammar": {"grammar": "root ::= " + "[^a]? " * 50},
    "an exponential grammar": {"grammar": 'root ::= r r\nr ::= s s\ns ::= [^a] | ""'},
    "structural tag": {"structural_tag": '{"format": {"type": "grammar", "grammar": "x"}}'},
    "json in a text": {"json": json.dumps(wide(1000))},
    "choice": {"choice": ["x" * 1000] * 20},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_schema_that_takes_long_to_compile_is_refused(name):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": HOSTILE[name]}}
    tool = {"type": "function", "function": {"name": "f", "parameters": HOSTILE[name]}}
    strict = {
        "type": "function",
        "function": {"name": "f", "strict": True, "parameters": HOSTILE[name]},
    }
    for more in (
        {"response_format": form},
        {"structured_outputs": {"json": HOSTILE[name]}},
        {"tools": [tool], "tool_choice": "required"},
        {"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tools": [strict]},
    ):
        with pytest.raises(Refusal, match=" are more than "):
            chat(**more)
    # Tools that the model only reads are not compiled.
    assert chat(tools=[tool]).body["tools"] == [tool]


@pytest.mark.parametrize("name", SLOW)
def test_other_forms_of_grammars_are_bounded_too(name):
    for ask in (chat, completion):
        with pytest.raises(Refusal, match=r" are more than |limits\.allow_grammars"):
            ask(structured_outputs=SLOW[name])


def test_grammars_are_served_where_that_is_allowed():
    limits = GatewayLimits(allow_grammars=True)
    grammar = {"grammar": 'root ::= "yes" | "no"'}
    assert chat(limits, structured_outputs=grammar).body["structured_outputs"] == grammar
    assert chat(structured_outputs={"choice": ["yes", "no"]}).body
    assert chat(structured_outputs={"regex": r"\d{1,3}(\.\d+)?"}).body


def test_repeated_parts_of_a_schema_are_measured_once_and_required_ones_not():
    same = {"type": "object", "properties": {f"p{n}": {"maxLength": 500} for n in range(100)}}
    assert chat(
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": same}}
    )
    required = wide(300, required=[f"p{n}" for n in range(300)])
    assert chat(structured_outputs={"json": required})
