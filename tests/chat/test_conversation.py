"""Rows become conversations, or a reason why they are none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.chat.conversation import UNSUPPORTED, Conversation, conversation
from longspan.chat.turns import MASKED, TRAINED, Message, NotAConversation

SAME = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Yo"},
        ]
    },
    {
        "system": "Be brief.",
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}],
    },
    {"system": "Be brief.", "instruction": "Hi", "input": "", "output": "Yo"},
]


@pytest.mark.parametrize("row", SAME, ids=["messages", "sharegpt", "alpaca"])
def test_the_three_shapes(row: dict[str, Any]) -> None:
    assert conversation(row).messages == (
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message("assistant", "Yo"),
    )


def test_alpaca_has_an_input_and_a_history() -> None:
    row = {
        "instruction": "Translate",
        "input": "chat",
        "output": "cat",
        "history": [["Hi", "Yo"]],
    }
    assert [message.content for message in conversation(row).messages] == [
        "Hi",
        "Yo",
        "Translate\n\nchat",
        "cat",
    ]


def turns(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": f"{role} says"} for role in roles]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (turns("user", "bot"), r"unknown role \(messages\[1\] is of 'bot'"),
        (turns("user", "tool"), "no assistant turn"),
        (turns("user", "assistant", "tool", "assistant"), "wrong order.*tools follow tool_calls"),
        (turns("user"), "no assistant turn"),
        (turns(), r"no assistant turn \('messages' is empty"),
        (turns("assistant", "user"), "turns in the wrong order"),
        (turns("user", "user", "assistant"), "wrong order.*user, user, assistant"),
        (turns("user", "system", "assistant"), "wrong order"),
        (turns("user", "assistant", "user"), "no answer at the end"),
        ({"text": "Once"}, "no conversation.*but text"),
        ({"messages": "Hi"}, "no conversation.*'messages' is a str"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\] has no 'role' and 'content'"),
        ({"messages": [{"role": "user", "content": None}]}, "turn is no text"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "not UTF-8"),
        ({"conversations": [{"from": "bing", "value": "Hi"}]}, "unknown role"),
        ({"instruction": "Hi"}, "no assistant turn"),
        ({"instruction": "Hi", "output": " "}, "empty answer"),
    ],
)
def test_what_is_none_is_told(row: dict[str, Any], message: str) -> None:
    with pytest.raises(NotAConversation, match=message):
        conversation(row)


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=6))
def test_as_text_and_back(contents: list[str]) -> None:
    contents = contents[: len(contents) // 2 * 2]
    messages = tuple(
        Message(("user", "assistant")[number % 2], content)
        for number, content in enumerate(contents)
    )
    assert Conversation.loads(Conversation(messages).dumps()).messages == messages


CALL = {"type": "function", "function": {"name": "tide", "arguments": {"day": 1}}}
TOOL = {"type": "function", "function": {"name": "tide", "parameters": {}}}


def asked(**fields: Any) -> dict[str, Any]:
    """A row whose answer has more fields."""
    answer = {"role": "assistant", "content": "Yo"} | fields
    return {"messages": [{"role": "user", "content": "Hi"}, answer]}


def test_a_system_message_beside_turns_is_the_first_of_them() -> None:
    for row in (turns("user", "assistant"), turns("system", "user", "assistant")):
        found = conversation(row | {"system": "system says"})
        assert [message.role for message in found.messages] == ["system", "user", "assistant"]
        assert found.messages[0].content == "system says"
    with pytest.raises(NotAConversation, match="two system messages"):
        conversation(turns("system", "user", "assistant") | {"system": "Be brief."})


@pytest.mark.parametrize("row", SAME, ids=["messages", "sharegpt", "alpaca"])
@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL])], ids=["list", "text"])
def test_every_shape_may_have_tools(row: dict[str, Any], tools: Any) -> None:
    assert conversation(row | {"tools": tools}).tools == (TOOL,)


def test_calls_of_tools_are_kept_with_their_results() -> None:
    calls = [CALL | {"function": {"name": "tide", "arguments": '{"day": 1}'}}]
    row = {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "content": "low", "tool_call_id": "1"},
            {"role": "tool", "content": "high"},
            {"role": "assistant", "content": "Yo", "reasoning_content": "Hm"},
        ],
        "tools": [TOOL],
    }
    found = conversation(row)
    assert found.messages[1] == Message("assistant", "", {"tool_calls": [CALL]})
    assert found.messages[2].fields == {"tool_call_id": "1"}
    assert found.messages[4].fields == {"reasoning_content": "Hm"}
    assert Conversation.loads(found.dumps()) == found
    assert {"tide", "day", "Hm", "low", "parameters"} <= set(found.texts)


def test_plain_conversations_are_written_as_before_there_were_fields() -> None:
    assert conversation(asked(tool_calls=[], name=None)).dumps() == (
        '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]'
    )


@pytest.mark.parametrize("name", [*TRAINED, *MASKED])
@pytest.mark.parametrize("form", [bool, int, float])
def test_flags_of_other_trainers_exclude_a_turn(name: str, form: type) -> None:
    excluded = form(name in MASKED)
    row = turns("user", "assistant", "user", "assistant")
    row["messages"][1] |= {name: excluded}
    row["messages"][2] |= {name: None}
    row["messages"][3] |= {name: form(not excluded)}
    found = conversation(row)
    assert [message.is_trained for message in found.messages] == [True, False, True, True]
    assert not any(message.fields for message in found.messages)
    assert Conversation.loads(found.dumps()) == found


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (asked(weight=0.5), r"flag of a turn \(messages\[1\].weight is 0.5"),
        (asked(train="yes"), "flag of a turn.*must be true, false, 1 or 0"),
        (asked(train=True, weight=0), "is both: train, weight"),
        (asked(train=False), "no answer to train on"),
        (
            {
                "messages": [
                    {"role": "user", "content": "Hi", "train": True},
                    asked()["messages"][1],
                ]
            },
            "only turns of the assistant can be trained on",
        ),
        (asked(tool_calls="x"), "tool call"),
        (asked(tool_calls=[{"name": "tide"}]), "tool call"),
        (asked(name="\ud800"), "not UTF-8"),
        (asked(seen=b"x"), "is no JSON"),
        (asked() | {"tools": "{"}, "'tools' is a text, but no JSON"),
        (asked() | {"tools": {"a": 1}}, "'tools' is a dict"),
        (asked() | {"tools": ["tide"]}, "tools"),
        (asked() | {"input": "Hi"}, "'input' would be left out"),
        (asked() | {"conversations": SAME[1]["conversations"]}, "two conversations"),
        (SAME[2] | {"conversations": SAME[1]["conversations"]}, "two conversations"),
        (
            {
                "messages": [
                    {"role": "user", "content": "Hi", "tool_calls": [CALL]},
                    asked()["messages"][1],
                ]
            },
            "tool_calls of a turn of 'user'",
        ),
    ],
)
def test_what_cannot_be_honoured_is_told(row: dict[str, Any], message: str) -> None:
    with pytest.raises(NotAConversation, match=message):
        conversation(row)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_fields_of_a_row_that_others_render_are_told_unless_ignored(name: str) -> None:
    row = asked() | {name: ["x"]}
    with pytest.raises(NotAConversation, match=f"'{name}' would be left out; .*ignore_fields"):
        conversation(row)
    for harmless in (row | {name: None}, row | {name: []}, asked() | {"source": "books"}):
        assert conversation(harmless) == conversation(asked())
    assert conversation(row, ignored={name}) == conversation(asked())


def test_ignored_fields_of_turns_are_left_out() -> None:
    row = asked(language="de", train=False) | {"instruction": "Hi"}
    assert conversation(row, ignored={"language", "train", "instruction"}) == conversation(asked())
