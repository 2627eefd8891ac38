"""Conversations in the shapes that are in use: messages, ShareGPT and Alpaca."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]

ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
"""The roles' names in messages and in ShareGPT."""
SHAPES = ("messages", "conversations", "instruction")
"""A row has one of these fields."""
FIELDS = (*SHAPES, "system", "input", "output", "history")
"""All fields that a conversation is made of."""


class NotAConversation(Exception):
    """What a row is instead of a conversation.

    Attributes:
        reason: short, to count by ("unknown role").
        detail: what exactly was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason} ({detail})")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Message:
    """One turn."""

    role: Role
    content: str


@dataclass(frozen=True)
class Conversation:
    """An optional system message, then turns of user and assistant that end with an assistant's."""

    messages: tuple[Message, ...]

    def __post_init__(self) -> None:
        roles = [message.role for message in self.messages]
        if "assistant" not in roles:
            raise NotAConversation("no assistant turn", f"its roles are {_listed(roles)}")
        turns = roles[1:] if roles[0] == "system" else roles
        for number, role in enumerate(turns):
            if role != ("user", "assistant")[number % 2]:
                raise NotAConversation(
                    "turns in the wrong order",
                    f"user and assistant must take turns, but its roles are {_listed(roles)}",
                )
        if turns[-1] != "assistant":
            raise NotAConversation("no answer at the end", f"its roles are {_listed(roles)}")
        for message in self.messages:
            if message.role == "assistant" and not message.content.strip():
                raise NotAConversation("empty answer", "an assistant turn has no text")

    def dumps(self) -> str:
        """As one line of text that :meth:`loads` reads: equal for equal conversations."""
        return json.dumps([asdict(message) for message in self.messages], ensure_ascii=False)

    @classmethod
    def loads(cls, text: str) -> Conversation:
        """The inverse of :meth:`dumps`."""
        return cls(tuple(Message(**message) for message in json.loads(text)))

    @property
    def turns(self) -> list[dict[str, str]]:
        """As chat templates take it."""
        return [asdict(message) for message in self.messages]


def conversation(row: Mapping[str, Any]) -> Conversation:
    """The conversation in a row of any of the shapes.

    - messages: ``messages: [{role, content}, ...]``
    - ShareGPT: ``conversations: [{from, value}, ...]``, and perhaps ``system``
    - Alpaca: ``instruction``, ``output``, and perhaps ``input``, ``system`` and ``history``
      (pairs of question and answer)

    Raises:
        NotAConversation: it has none of the shapes, or breaks its rules.
    """
    if row.get("messages") is not None:
        return Conversation(_turns(row["messages"], "messages", "role", "content"))
    if row.get("conversations") is not None:
        turns = _turns(row["conversations"], "conversations", "from", "value")
        return Conversation((*_system(row), *turns))
    if row.get("instruction") is not None:
        return Conversation((*_system(row), *_history(row), *_alpaca(row)))
    raise no_conversation(list(row))


def no_conversation(names: Sequence[str]) -> NotAConversation:
    """For a row, or a table, with fields of none of the shapes."""
    return NotAConversation(
        "no conversation",
        f"it has neither 'messages' nor 'conversations' nor 'instruction', but {_listed(names)}",
    )


def _turns(value: Any, field: str, role: str, content: str) -> tuple[Message, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise NotAConversation("no conversation", f"{field!r} is a {type(value).__name__}")
    if not value:
        raise NotAConversation("no assistant turn", f"{field!r} is empty")
    return tuple(_turn(turn, f"{field}[{n}]", role, content) for n, turn in enumerate(value))


def _turn(value: Any, where: str, role: str, content: str) -> Message:
    if not isinstance(value, Mapping) or role not in value or content not in value:
        raise NotAConversation("no conversation", f"{where} has no {role!r} and {content!r}")
    found = ROLES.get(value[role]) if isinstance(value[role], str) else None
    if found is None:
        raise NotAConversation(
            "unknown role", f"{where} is of {value[role]!r}, not one of {_listed(list(ROLES))}"
        )
    return Message(found, _text(value[content], f"{where}.{content}"))


def _alpaca(row: Mapping[str, Any]) -> tuple[Message, Message]:
    question = _text(row["instruction"], "instruction")
    if row.get("input"):
        question = f"{question}\n\n{_text(row['input'], 'input')}"
    if row.get("output") is None:
        raise NotAConversation("no assistant turn", "it has an 'instruction' and no 'output'")
    return Message("user", question), Message("assistant", _text(row["output"], "output"))


def _history(row: Mapping[str, Any]) -> list[Message]:
    found: list[Message] = []
    for number, pair in enumerate(row.get("history") or ()):
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise NotAConversation("no conversation", f"history[{number}] is no pair of texts")
        question, answer = (_text(text, f"history[{number}]") for text in pair)
        found += [Message("user", question), Message("assistant", answer)]
    return found


def _system(row: Mapping[str, Any]) -> list[Message]:
    system = row.get("system")
    return [Message("system", _text(system, "system"))] if system else []


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise NotAConversation("turn is no text", f"{where} is a {type(value).__name__}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise NotAConversation("not UTF-8", f"{where} has half of a surrogate pair") from None
    return value


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") or "none"
