"""Control tokens of a model that are spelled out in a conversation's texts, kept from becoming such tokens.

The engine renders a conversation to one text and tokenizes that, so a document with `<|im_end|>` in it
would end the turn that it is in, and could begin one of the system's. A word joiner, which is not
visible, behind the first character keeps the spelling a text.

The texts are all that a chat template can render: messages with their roles, names and calls of
tools, definitions of tools, documents, and arguments of the template.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

JOINERS = ("\u2060", "\u200b", " ")
"""Characters that keep a spelling apart: a word joiner, and others where a tokenizer drops that one."""
RENDERED = ("messages", "tools", "documents", "chat_template_kwargs")
"""Fields of a request that a chat template renders."""


class ControlTokens:
    """Takes texts apart where they spell out a control token.

    Args:
        tokens: as the tokenizer spells them; none leaves all texts as they are.
        joiner: the character that is put into a spelling.
    """

    def __init__(self, tokens: Iterable[str] = (), joiner: str = JOINERS[0]) -> None:
        found = sorted((each for each in set(tokens) if len(each) > 1), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, found))) if found else None
        self._longest = max(map(len, found), default=0)
        self._joiner = joiner

    def split(self, text: str) -> str:
        """A text in which none of them is spelled out."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: f"{found[0][0]}{self._joiner}{found[0][1:]}", text)

    def split_all(self, value: Any) -> Any:
        """A JSON value in whose texts, names of fields included, none of them is spelled out."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.split(value)
        if isinstance(value, list):
            return self._split_parts([self.split_all(each) for each in value])
        if isinstance(value, dict):
            return {self.split(name): self.split_all(each) for name, each in value.items()}
        return value

    def _split_parts(self, parts: list[Any]) -> list[Any]:
        """Parts of a message, none of which continues a token that others begin: templates may join them."""
        assert self._pattern
        before, found = "", []
        for part in parts:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                if self._pattern.search(before + text[: self._longest]):
                    text = self._joiner + text
                    part = part | {"text": text} if isinstance(part, dict) else text
                before = (before + text)[-self._longest :]
            found.append(part)
        return found


def control_tokens_of(tokenizer: Any) -> ControlTokens:
    """Control tokens of a tokenizer: those that it marks as special."""
    added = tokenizer.added_tokens_decoder.items()
    special = {number: str(token.content) for number, token in added if token.special}
    for joiner in JOINERS:
        found = ControlTokens(special.values(), joiner)
        texts = [found.split(f"a{token}b") for token in special.values()]
        if not any(special.keys() & set(tokenizer(text)["input_ids"][1:-1]) for text in texts):
            break
    return found
