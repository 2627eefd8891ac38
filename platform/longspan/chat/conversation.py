"""Conversations in the shapes that are in use: messages, ShareGPT and Alpaca."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from longspan.chat.turns import (
    Fields,
    Message,
    NotAConversation,
    TurnKeys,
    is_empty,
    not_used,
    text_of,
    texts_in,
    tools_of,
    turn_of,
)

__all__ = ["Conversation", "Message", "NotAConversation", "conversation"]

SHAPES = ("messages", "conversations", "instruction")
"""A row has one of these fields."""
OF_INSTRUCTIONS = ("input", "output", "history")
"""Fields beside `instruction`."""
UNSUPPORTED = (
    *("functions", "system_prompt", "documents", "chat_template_kwargs"),
    *("reasoning_content", "tool_calls", "images", "videos", "audios"),
)
"""Fields of a row that other trainers render and this one does not: they are bad input unless ignored."""
USED = (*SHAPES, "system", "tools")
"""Fields that are used in every shape."""
FIELDS = (*USED, *OF_INSTRUCTIONS, *UNSUPPORTED)
"""All fields that are looked at; any other is no part of a conversation."""
_FIELDS = frozenset(FIELDS)


@dataclass(frozen=True)
class Conversation:
    """An optional system message, then turns of user and assistant that end with an assistant's.

    Attributes:
        messages: its turns; an assistant's that calls tools may be followed by those of tools.
        tools: definitions of tools, which the chat template renders.
    """

    messages: tuple[Message, ...]
    tools: tuple[Fields, ...] = ()

    def __post_init__(self) -> None:
        roles = [message.role for message in self.messages]
        if "assistant" not in roles:
            raise NotAConversation("no assistant turn", f"its roles are {_listed(roles)}")
        turns = self.messages[1:] if roles[0] == "system" else self.messages
        before = [None, *turns]
        if not all(_may_follow(last, turn) for last, turn in zip(before, turns, strict=False)):
            raise NotAConversation(
                "turns in the wrong order",
                "user and assistant must take turns, and tools follow tool_calls, but its roles are "
                f"{_listed(roles)}",
            )
        if roles[-1] != "assistant":
            raise NotAConversation("no answer at the end", f"its roles are {_listed(roles)}")
        answers = [message for message in self.messages if message.role == "assistant"]
        if not all(answer.content.strip() or answer.fields.get("tool_calls") for answer in answers):
            raise NotAConversation("empty answer", "an assistant turn has no text")
        if not any(answer.is_trained for answer in answers):
            raise NotAConversation("no answer to train on", "all its assistant turns are excluded")

    def dumps(self) -> str:
        """As one line of text that :meth:`loads` reads: equal for equal conversations."""
        # What has none of the optional parts is written as it was before there were any.
        messages = [
            message.turn if not message.fields and message.is_trained else asdict(message)
            for message in self.messages
        ]
        value = {"messages": messages, "tools": self.tools} if self.tools else messages
        return json.dumps(value, ensure_ascii=False)

    @classmethod
    def loads(cls, text: str) -> Conversation:
        """The inverse of :meth:`dumps`."""
        value = json.loads(text)
        if isinstance(value, list):
            value = {"messages": value, "tools": ()}
        messages = tuple(Message(**message) for message in value["messages"])
        return cls(messages, tuple(value["tools"]))

    @property
    def turns(self) -> list[Fields]:
        """As chat templates take it."""
        return [message.turn for message in self.messages]

    @property
    def texts(self) -> Iterator[str]:
        """All texts in it, which a chat template may render."""
        for message in self.messages:
            yield from message.texts
        yield from texts_in(list(self.tools))


def conversation(row: Mapping[str, Any], ignored: Collection[str] = ()) -> Conversation:
    """The conversation in a row of any of the shapes.

    - messages: ``messages: [{role, content}, ...]``
    - ShareGPT: ``conversations: [{from, value}, ...]``
    - Alpaca: ``instruction``, ``output``, and perhaps ``input`` and ``history`` (pairs of question
      and answer)

    Each may have ``system`` and ``tools`` beside it.

    Args:
        row: what was read.
        ignored: fields of rows and turns to be left out.

    Raises:
        NotAConversation: it has none of the shapes, or breaks its rules.
    """
    row = {name: value for name, value in row.items() if name not in ignored}
    _require_one_shape(row)
    tools = tools_of(row.get("tools"))
    if row.get("messages") is not None:
        turns = _turns(row["messages"], TurnKeys("messages", "role", "content", ignored))
    elif row.get("conversations") is not None:
        turns = _turns(row["conversations"], TurnKeys("conversations", "from", "value", ignored))
    elif row.get("instruction") is not None:
        turns = (*_history(row), *_alpaca(row))
    else:
        raise no_conversation(list(row))
    return Conversation(_with_system(row.get("system"), turns), tools)


def _require_one_shape(row: Mapping[str, Any]) -> None:
    """No field of a row would be left out that another trainer makes turns of."""
    stated = [name for name in row if name in _FIELDS and not is_empty(row[name])]
    shapes = [name for name in stated if name in SHAPES]
    if len(shapes) > 1:
        raise NotAConversation(
            "two conversations", f"in {_listed(shapes)}; list all but one in ignore_fields"
        )
    for name in stated if shapes else ():
        is_used = name in USED or (name in OF_INSTRUCTIONS and shapes == ["instruction"])
        if not is_used:
            raise not_used(repr(name))


def _may_follow(last: Message | None, turn: Message) -> bool:
    """Whether a turn may follow another, or be the first behind a system message."""
    if last is None or last.role == "system":
        return turn.role == "user"
    if last.role == "user":
        return turn.role == "assistant"
    if last.role == "tool":
        return turn.role in ("tool", "assistant")
    return turn.role == "user" or (turn.role == "tool" and "tool_calls" in last.fields)


def no_conversation(names: Sequence[str]) -> NotAConversation:
    """For a row, or a table, with fields of none of the shapes."""
    return NotAConversation(
        "no conversation",
        f"it has neither 'messages' nor 'conversations' nor 'instruction', but {_listed(names)}",
    )


def _turns(value: Any, keys: TurnKeys) -> tuple[Message, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise NotAConversation("no conversation", f"{keys.field!r} is a {type(value).__name__}")
    if not value:
        raise NotAConversation("no assistant turn", f"{keys.field!r} is empty")
    return tuple(turn_of(turn, f"{keys.field}[{n}]", keys) for n, turn in enumerate(value))


def _with_system(system: Any, turns: tuple[Message, ...]) -> tuple[Message, ...]:
    """Turns behind the system message that a row has beside them."""
    if not system:
        return turns
    first = Message("system", text_of(system, "system"))
    if turns[0].role != "system":
        return (first, *turns)
    if turns[0].content != first.content:
        raise NotAConversation("two system messages", "one in 'system', another in the first turn")
    return turns


def _alpaca(row: Mapping[str, Any]) -> tuple[Message, Message]:
    question = text_of(row["instruction"], "instruction")
    if row.get("input"):
        question = f"{question}\n\n{text_of(row['input'], 'input')}"
    if row.get("output") is None:
        raise NotAConversation("no assistant turn", "it has an 'instruction' and no 'output'")
    return Message("user", question), Message("assistant", text_of(row["output"], "output"))


def _history(row: Mapping[str, Any]) -> list[Message]:
    found: list[Message] = []
    for number, pair in enumerate(row.get("history") or ()):
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise NotAConversation("no conversation", f"history[{number}] is no pair of texts")
        question, answer = (text_of(text, f"history[{number}]") for text in pair)
        found += [Message("user", question), Message("assistant", answer)]
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") or "none"
