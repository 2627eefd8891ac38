"""Conversations out of JSON lines, JSON lists and Parquet, and what is bad of them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longspan.chat.conversation import Conversation
from longspan.corpus.bad_input import BadInput
from longspan.corpus.filters import LeftOut, conditions
from longspan.corpus.sources import SourceSpec, read
from longspan.storage import Store

SPEC = SourceSpec("talk", ("raw",), format="chat")


def talk(number: int) -> dict[str, Any]:
    turns = [("user", f"Question {number}?"), ("assistant", f"Answer {number}.")]
    return {"kind": number % 2, "messages": [{"role": r, "content": c} for r, c in turns]}


ROWS = [talk(number) for number in range(5)]


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_struct_array(pa.array(rows)), sink)
    return sink.getvalue().to_pybytes()


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n\n".join(json.dumps(row) for row in rows).encode()


FORMS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    ".parquet": as_parquet,
    ".jsonl": as_lines,
    ".jsonl.gz": lambda rows: gzip.compress(as_lines(rows)),
    ".json": lambda rows: json.dumps(rows, indent=1).encode(),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.mark.parametrize("suffix", FORMS)
def test_forms(store: Store, suffix: str) -> None:
    store.write_bytes(f"x{suffix}", FORMS[suffix](ROWS))
    found = [Conversation.loads(str(item)) for item in read(store, f"x{suffix}", SPEC)]
    assert [talk.messages[-1].content for talk in found] == [f"Answer {n}." for n in range(5)]


@pytest.mark.parametrize("suffix", FORMS)
def test_rows_can_be_chosen(store: Store, suffix: str) -> None:
    store.write_bytes(f"x{suffix}", FORMS[suffix](ROWS))
    spec = SourceSpec("talk", ("raw",), format="chat", where=conditions({"kind": 1}))
    found = list(read(store, f"x{suffix}", spec))
    assert sum(isinstance(item, str) for item in found) == 2
    assert sum(item.count for item in found if isinstance(item, LeftOut)) == 3


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "x.jsonl",
            as_lines(ROWS[:1]) + b"\n{\n\xff\n[]\n" + as_lines([{"messages": []}]) + b"\n",
            [
                "line 2: not JSON",
                "line 3: not UTF-8",
                "line 4: not a JSON object",
                "line 5: no ass",
            ],
        ),
        ("x.json", b"[1, {", ["the whole object: not JSON"]),
        ("x.json", b'[{"text": "a"}]', ["item 1: no conversation"]),
        ("x.json", b"[]", ["the whole object: empty"]),
        ("x.jsonl", b"\n\n", ["the whole object: empty"]),
        ("x.parquet", as_parquet(ROWS)[:-9], ["the whole object: truncated or corrupt"]),
        ("x.parquet", as_parquet([{"text": "a"}]), ["the whole object: no conversation"]),
    ],
)
def test_bad_input_is_told_by_its_place(
    store: Store, name: str, content: bytes, expected: list[str]
) -> None:
    store.write_bytes(name, content)
    bad = [str(item) for item in read(store, name, SPEC) if isinstance(item, BadInput)]
    assert len(bad) == len(expected), bad
    for text, beginning in zip(bad, expected, strict=True):
        assert text.startswith(f"{name}, {beginning}")


FIELDS = [
    {
        "tools": [
            {"type": "function", "function": {"name": "get_weather", "parameters": {"a": 1}}}
        ],
        "messages": [
            {"role": "user", "content": "storm?"},
            {
                "role": "assistant",
                "content": "wind",
                "tool_calls": [{"id": "1", "function": {"name": "get_weather", "arguments": "{}"}}],
            },
        ],
    },
    {"system": "Answer in French.", "messages": talk(1)["messages"]},
    {
        "messages": [
            {"role": "user", "content": "page?"},
            {"role": "assistant", "content": "tide", "reasoning_content": "book", "weight": 1},
        ]
    },
]


@pytest.mark.parametrize("suffix", FORMS)
def test_fields_of_rows_and_turns_are_kept(store: Store, suffix: str) -> None:
    """In Parquet every row has the fields of all, and nulls where it has none."""
    store.write_bytes(f"x{suffix}", FORMS[suffix](FIELDS))
    tools, system, reasoning = (
        Conversation.loads(str(item)) for item in read(store, f"x{suffix}", SPEC)
    )
    assert tools.tools[0]["function"]["name"] == "get_weather"
    (call,) = tools.messages[1].fields["tool_calls"]
    assert call == {"id": "1", "function": {"name": "get_weather", "arguments": {}}}
    assert (system.messages[0].role, system.messages[0].content) == ("system", "Answer in French.")
    assert not system.messages[2].fields
    assert reasoning.messages[1].fields == {"reasoning_content": "book"}


@pytest.mark.parametrize("suffix", FORMS)
def test_fields_that_would_be_left_out_are_bad_input_unless_ignored(
    store: Store, suffix: str
) -> None:
    store.write_bytes(f"x{suffix}", FORMS[suffix]([talk(1) | {"system_prompt": "Be brief."}]))
    (bad,) = read(store, f"x{suffix}", SPEC)
    assert isinstance(bad, BadInput)
    assert bad.reason == "field is not used"
    spec = SourceSpec("talk", ("raw",), format="chat", ignore_fields=("system_prompt",))
    assert isinstance(next(iter(read(store, f"x{suffix}", spec))), str)
