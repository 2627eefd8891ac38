"""Turns of conversations: their fields, as other trainers write them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Fields = dict[str, Any]

ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "tool": "tool",
}
"""The roles' names in messages and in ShareGPT."""
KNOWN_ROLES = list(ROLES)
"""A list, for a role may be a value that no dictionary takes."""
TRAINED = ("train", "training", "trainable", "loss", "weight")
"""Fields of a turn that say whether its tokens count: of axolotl, ms-swift and XTuner, OpenAI and Mistral."""
MASKED = ("masked",)
"""Fields of a turn that say the opposite: of torchtune."""


class NotAConversation(Exception):
    """Error: a row is not a conversation.

    Attributes:
        reason: short, to count by ("unknown role").
        detail: what exactly was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason} ({detail})")
        self.reason, self.detail = reason, detail


def not_used(name: str) -> NotAConversation:
    """For a field that would be left out."""
    return NotAConversation(
        "field is not used", f"{name} would be left out; drop it, or list it in ignore_fields"
    )


@dataclass(frozen=True)
class Message:
    """One turn.

    Attributes:
        role: whose turn it is.
        content: its text; may be empty beside calls of tools.
        fields: what else of it the chat template has to render, such as `tool_calls`.
        is_trained: whether the tokens of an assistant's turn count in the loss.
    """

    role: Role
    content: str
    fields: Fields = field(default_factory=dict)
    is_trained: bool = True

    @property
    def turn(self) -> Fields:
        """Dictionary that chat templates take."""
        return {"role": self.role, "content": self.content} | self.fields

    @property
    def texts(self) -> Iterator[str]:
        """All texts in it, names of fields included."""
        yield self.content
        yield from texts_in(self.fields)


@dataclass(frozen=True)
class TurnKeys:
    """Names of a turn's fields in one of the shapes.

    Attributes:
        field: the row's field with the turns.
        role: the turn's field with its role.
        content: the turn's field with its text.
        ignored: fields of turns to be left out.
    """

    field: str
    role: str
    content: str
    ignored: Collection[str] = ()

    @cached_property
    def plain(self) -> frozenset[str]:
        """Fields of a turn that has a text alone."""
        return frozenset({self.role, self.content}) - frozenset(self.ignored)


def turn_of(value: Any, where: str, keys: TurnKeys) -> Message:
    """The turn that a value of a row states.

    Raises:
        NotAConversation: it states none.
    """
    if not isinstance(value, Mapping):
        raise NotAConversation("no conversation", f"{where} is a {type(value).__name__}")
    if value.keys() == keys.plain and value[keys.role] in KNOWN_ROLES:  # As most turns are.
        content = value[keys.content]
        return Message(ROLES[value[keys.role]], text_of(content, f"{where}.{keys.content}"))
    value = {name: each for name, each in value.items() if name not in keys.ignored}
    calls = _calls(value.get("tool_calls"), where)
    if keys.role not in value or (keys.content not in value and not calls):
        raise NotAConversation(
            "no conversation", f"{where} has no {keys.role!r} and {keys.content!r}"
        )
    stated = value[keys.role]
    role = ROLES.get(stated) if isinstance(stated, str) else None
    if role is None:
        known = ", ".join(ROLES)
        raise NotAConversation("unknown role", f"{where} is of {stated!r}, not one of {known}")
    content = value.get(keys.content)
    text = "" if content is None and calls else text_of(content, f"{where}.{keys.content}")
    if calls and role != "assistant":
        raise not_used(f"{where}.tool_calls of a turn of {role!r}")
    is_trained = _is_trained(value, where, role)
    used = {keys.role, keys.content, "tool_calls", *TRAINED, *MASKED}
    fields = {
        name: _checked(each, f"{where}.{name}")
        for name, each in value.items()
        if name not in used and not is_empty(each)
    }
    return Message(role, text, fields | ({"tool_calls": calls} if calls else {}), is_trained)


def _is_trained(turn: Mapping[str, Any], where: str, role: Role) -> bool:
    """Whether the tokens of a turn count, by the fields with which other trainers say so."""
    stated: dict[str, bool] = {}
    for name in (*TRAINED, *MASKED):
        value = turn.get(name)
        if value is None:
            continue
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            raise NotAConversation(
                "flag of a turn", f"{where}.{name} is {value!r}, and must be true, false, 1 or 0"
            )
        stated[name] = bool(value) != (name in MASKED)
    if len(set(stated.values())) > 1:
        raise NotAConversation("flag of a turn", f"{where} is both: {', '.join(stated)}")
    is_trained = all(stated.values())
    if stated and is_trained and role != "assistant":
        raise NotAConversation(
            "flag of a turn",
            f"{where}.{next(iter(stated))}: only turns of the assistant can be trained on; "
            "prompt_loss is for those of all prompts",
        )
    return is_trained


def _calls(value: Any, where: str) -> list[Fields]:
    """Calls of tools, their arguments as objects, which is how templates take them when a model is served."""
    if is_empty(value):
        return []
    if not isinstance(value, list) or not all(_is_call(each) for each in value):
        raise NotAConversation(
            "tool call", f"{where}.tool_calls is no list of calls with a function"
        )
    return [
        dict(call) | {"function": dict(call["function"]) | _arguments(call["function"])}
        for call in _checked(value, f"{where}.tool_calls")
    ]


def _is_call(value: Any) -> bool:
    function = value.get("function") if isinstance(value, Mapping) else None
    return isinstance(function, Mapping) and isinstance(function.get("name"), str)


def _arguments(function: Mapping[str, Any]) -> Fields:
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        return {}
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return {}
    return {"arguments": parsed} if isinstance(parsed, dict) else {}


def tools_of(value: Any) -> tuple[Fields, ...]:
    """Definitions of tools, given as a list or as one in JSON.

    Raises:
        NotAConversation: they are neither.
    """
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise NotAConversation("tools", f"'tools' is a text, but no JSON: {error}") from None
    if is_empty(value):
        return ()
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise NotAConversation(
            "tools", f"'tools' is a {type(value).__name__}, not a list of objects"
        )
    return tuple(_checked(value, "tools"))


def text_of(value: Any, where: str) -> str:
    """A value that is a text.

    Raises:
        NotAConversation: it is none.
    """
    if not isinstance(value, str):
        raise NotAConversation("turn is no text", f"{where} is a {type(value).__name__}")
    _require_unicode(value, where)
    return value


def _checked(value: Any, where: str) -> Any:
    """A value that is plain JSON."""
    for text in texts_in(value):
        _require_unicode(text, where)
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        raise not_used(f"{where}, which is no JSON,") from None


def _require_unicode(text: str, where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise NotAConversation("not UTF-8", f"{where} has half of a surrogate pair") from None


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a JSON value, names of fields included."""
    rest = [value]
    while rest:
        node = rest.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, Mapping):
            rest.extend((*node.keys(), *node.values()))
        elif isinstance(node, Sequence) and not isinstance(node, bytes):
            rest.extend(node)


def is_empty(value: Any) -> bool:
    """Whether a field says nothing: it is absent, null, or empty."""
    return value is None or (isinstance(value, str | list | dict) and not value)
