"""Rows become conversations, or a reason why they are none."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.chat.conversation import Conversation, Message, NotAConversation, conversation

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
        (turns("user", "tool"), r"unknown role \(messages\[1\] is of 'tool'"),
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
