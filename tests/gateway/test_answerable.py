"""Schemas that no answer can satisfy are the client's mistake."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.serve.gateway.body import parse
from longspan.serve.gateway.errors import REQUEST_FAILED, Refusal, of_grammar
from longspan.serve.gateway.limits import GatewayLimits
from longspan.serve.gateway.satisfiable import endless_part

SELF: dict[str, Any] = {"$ref": "#"}
A = {"$ref": "#/$defs/a"}
TREE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "kids": {"type": "array", "items": SELF}},
    "required": ["name", "kids"],
}


def defined(**schemas: Any) -> dict[str, Any]:
    return A | {"$defs": schemas}


ENDLESS = {
    "itself": (SELF, "#"),
    "its definition": (defined(a=A), "#/$defs/a"),
    "each other": (defined(a={"$ref": "#/$defs/b"}, b=A), "#/$defs"),
    "by a choice": ({"anyOf": [SELF]}, "anyOf"),
    "by a choice of two": ({"oneOf": [SELF, {"$ref": "#"}]}, "oneOf"),
    "by all": (defined(a={"allOf": [{"type": "string"}, A]}), "#/$defs/a"),
    "by a required property": (
        {"type": "object", "properties": {"x": SELF}, "required": ["x"]},
        "type",
    ),
    "by a property that may be left out": (
        {"type": "object", "properties": {"x": {"$ref": "#/properties/x"}}},
        "#/properties/x",
    ),
    "by items": ({"type": "array", "items": SELF, "minItems": 1}, "type"),
    "by first items": ({"type": "array", "prefixItems": [SELF], "minItems": 1}, "type"),
    "in a choice": (
        {
            "anyOf": [{"type": "string"}, {"properties": {"x": A}, "required": ["x"]}],
            "$defs": {"a": A},
        },
        "properties",
    ),
    "by escaped names": (
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"$ref": "#/%24defs/a~1b"}}},
        "#/",
    ),
}
ANSWERABLE: dict[str, Any] = {
    "a tree": TREE,
    "an optional child": {"type": "object", "properties": {"next": SELF}},
    "a list of itself": {"type": "array", "items": SELF},
    "itself or a text": defined(a={"anyOf": [A, {"type": "string"}]}),
    "null at the end": {
        "type": ["object", "null"],
        "properties": {"next": SELF},
        "required": ["next"],
    },
    "unused": {"type": "string", "$defs": {"a": A}},
    "no schema": [1],
    "no such reference": {"$ref": "#/$defs/missing"},
    "of another document": {"$ref": "http://example.org/x"},
    "false": {"type": "object", "properties": {"x": False, "y": True}, "required": ["x"]},
}


@pytest.mark.parametrize("name", ENDLESS)
def test_schemas_without_an_end(name: str) -> None:
    schema, part = ENDLESS[name]
    found = endless_part(schema)
    assert found is not None and found.startswith(part)


@pytest.mark.parametrize("name", ANSWERABLE)
def test_schemas_with_an_answer(name: str) -> None:
    assert endless_part(ANSWERABLE[name]) is None


JSON = st.recursive(
    st.sampled_from([SELF, A, {"type": "string"}, True, None, 1, "x"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "$ref",
                    "anyOf",
                    "allOf",
                    "properties",
                    "required",
                    "items",
                    "minItems",
                    "$defs",
                    "a",
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_looked_at(value: Any) -> None:
    found = endless_part(value)
    assert found is None or isinstance(found, str)


def test_a_long_chain_is_followed_in_little_time() -> None:
    chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(20_000)}
    schema = {"$ref": "#/$defs/d0", "$defs": chain | {"d20000": {"type": "string"}}}
    assert endless_part(schema) is None


@pytest.mark.parametrize(
    ("field", "body"),
    [
        (
            "response_format",
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": SELF},
                }
            },
        ),
        ("structured_outputs.json", {"structured_outputs": {"json": SELF}}),
        ("structured_outputs.json", {"structured_outputs": {"json": json.dumps(SELF)}}),
        (
            "tools.0",
            {
                "tools": [{"type": "function", "function": {"name": "x", "parameters": SELF}}],
                "tool_choice": "required",
            },
        ),
    ],
)
def test_such_a_schema_is_refused_by_the_field_it_is_in(field: str, body: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | body
    with pytest.raises(
        Refusal, match=rf"^{field}: no answer can follow this schema: '#'"
    ) as raised:
        parse(json.dumps(body).encode(), GatewayLimits(), 1000)
    assert (raised.value.status, raised.value.param) == (400, field)


def test_the_engine_dead_ends_in_such_a_schema() -> None:
    """The engine answers 500 to these schemas: no token may follow, not even the end."""
    xgrammar = pytest.importorskip("xgrammar")
    tokens = [bytes([byte]) for byte in range(256)]
    vocabulary = xgrammar.TokenizerInfo([*tokens, b"</s>"], stop_token_ids=[256])
    compiler = xgrammar.GrammarCompiler(vocabulary, max_threads=1)
    allowed = {}
    for name, schema in (("endless", ENDLESS["its definition"][0]), ("tree", TREE)):
        matcher = xgrammar.GrammarMatcher(compiler.compile_json_schema(json.dumps(schema)))
        mask = xgrammar.allocate_token_bitmask(1, 257)
        matcher.fill_next_token_bitmask(mask)
        allowed[name] = bool(mask.any())
    assert allowed == {"endless": False, "tree": True}


def test_a_request_that_the_engine_gave_up_is_the_clients_only_with_a_grammar() -> None:
    gave_up = Refusal(500, REQUEST_FAILED)
    assert (of_grammar(gave_up).status, of_grammar(gave_up).code) == (400, "invalid_grammar")
    for other in (Refusal(500, "EngineCore died"), Refusal(400, REQUEST_FAILED)):
        assert of_grammar(other) is other
