"""Control tokens of a model that are spelled out in a conversation's texts, kept from becoming such tokens.

The engine renders a conversation to one text and tokenizes that, so a document with `<|im_end|>` in it
would end the turn that it is in, and could begin one of the system's. A word joiner, which is not
visible, behind the first character keeps the spelling a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

JOINER = "\u2060"


class ControlTokens:
    """Takes texts apart where they spell out a control token.

    Args:
        tokens: as the tokenizer spells them; none leaves all texts as they are.
    """

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        found = sorted((each for each in set(tokens) if len(each) > 1), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, found))) if found else None

    def split(self, text: str) -> str:
        """A text in which none of them is spelled out."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: f"{found[0][0]}{JOINER}{found[0][1:]}", text)

    def split_messages(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Split control tokens in the contents of messages, given as texts or as parts with text."""
        return [
            message | {"content": self._content(message["content"])}
            if "content" in message
            else message
            for message in messages
        ]

    def _content(self, content: Any) -> Any:
        if isinstance(content, str):
            return self.split(content)
        if not isinstance(content, list):
            return content
        return [
            part | {"text": self.split(part["text"])}
            if isinstance(part, dict) and isinstance(part.get("text"), str)
            else self._content(part)
            if isinstance(part, str)
            else part
            for part in content
        ]


def control_tokens_of(tokenizer: Any) -> ControlTokens:
    """Control tokens of a tokenizer: those that it marks as special."""
    added = tokenizer.added_tokens_decoder.values()
    return ControlTokens(str(token.content) for token in added if token.special)
