"""Parts of a conversation that a chat template leaves out of what it renders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from longspan.chat.conversation import Conversation
from longspan.chat.turns import Fields, Message, NotAConversation, not_used

Render = Callable[[Sequence[Fields], Sequence[Fields]], str]
"""Text of turns and tools, or NotAConversation."""

MARK = "longspan-probe"
"""A text that no template writes by itself."""
REFERENCES = ("tool_call_id", "name")
"""Fields of a tool's turn that name what another turn states: a template need not render them."""


class Omissions:
    """Finds what one chat template leaves out: what can be changed without a change in the text.

    Args:
        render: of the template.
    """

    def __init__(self, render: Render) -> None:
        self._render = render

    def require_none(self, conversation: Conversation, text: str) -> None:
        """Raise NotAConversation for a part that the template leaves out.

        Args:
            conversation: what was rendered.
            text: what it was rendered as.
        """
        for number, message in enumerate(conversation.messages):
            where = f"the {message.role}'s turn {number + 1}"
            if message.content.strip() not in text or not self._is_known(message):
                changed = replace(message, content=f"{message.content} {MARK}")
                if self._same(conversation, number, changed, text):
                    raise NotAConversation(
                        "turn is not rendered", f"the template leaves out {where}"
                    )
            for name, changed in _without_parts(message):
                if self._same(conversation, number, changed, text):
                    raise not_used(f"{name!r} of {where}, which the template does not render,")
        for tools in _reduced(list(conversation.tools)) if conversation.tools else ():
            if self._rendered(conversation.turns, tools) == text:
                raise not_used("'tools', which the template does not render,")

    def _is_known(self, message: Message) -> bool:
        """Whether a message of its role is known to be rendered, where its text is there."""
        if message.role in ("user", "assistant"):
            return True
        return message.role == "system" and self._renders_system

    @cached_property
    def _renders_system(self) -> bool:
        turns = [("system", MARK), ("user", "Hi"), ("assistant", "Yo")]
        text = self._rendered([{"role": role, "content": content} for role, content in turns], ())
        return MARK in (text or "")

    def _same(self, conversation: Conversation, number: int, changed: Message, text: str) -> bool:
        """Whether a conversation is rendered the same with another message in one place."""
        turns = conversation.turns
        turns[number] = changed.turn
        return self._rendered(turns, conversation.tools) == text

    def _rendered(self, turns: Sequence[Fields], tools: Sequence[Fields]) -> str | None:
        try:
            return self._render(turns, tools)
        except NotAConversation:
            return None


def _without_parts(message: Message) -> Iterator[tuple[str, Message]]:
    """Names of a message's fields, and the message without each of their parts."""
    for name, value in message.fields.items():
        if message.role == "tool" and name in REFERENCES:
            continue
        others = {other: each for other, each in message.fields.items() if other != name}
        for less in _reduced(value):
            yield name, replace(message, fields=others | ({name: less} if less else {}))


def _reduced(value: Any) -> Iterator[Any]:
    """A field's value with a part of it left out, for each of its parts."""
    if not isinstance(value, list):
        yield None
        return
    for number in range(len(value)):
        yield [*value[:number], *value[number + 1 :]]
