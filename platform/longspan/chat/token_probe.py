"""Token probes: token ids of fixed texts, which tell whether two tokenizers and chat templates are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from longspan.chat.tokenizer import DATE
from longspan.hashing import content_id

TEXT = "The year 1984: naïve café, 東京, x += 3.14\n\n\tDon't  stop — 12,345 ships?"
"""Digits, blanks, code, and characters of several bytes: tokenizers differ in how they divide these."""
CONVERSATION = (
    {"role": "user", "content": "Which ship came first?"},
    {"role": "assistant", "content": "The Argo."},
    {"role": "user", "content": "And who was its captain?"},
)


@dataclass(frozen=True)
class TokenProbe:
    """Token ids of the probes.

    Attributes:
        text: of `TEXT`, without tokens around it; None if unknown.
        conversation: of `CONVERSATION` in the chat template, up to where the answer begins; None if unknown, or if
            there is no template, or if the template refuses it.
    """

    text: tuple[int, ...] | None
    conversation: tuple[int, ...] | None = None

    @classmethod
    def of(cls, tokenizer: Any) -> TokenProbe:
        """Return the probes of a tokenizer.

        Args:
            tokenizer: of transformers, or of vLLM.
        """
        from jinja2 import TemplateError

        text = _ids(tokenizer, TEXT)
        if not getattr(tokenizer, "chat_template", None):
            return cls(text)
        turns = [dict(turn) for turn in CONVERSATION]
        try:
            rendered = tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, **DATE
            )
        except TemplateError:
            return cls(text)
        return cls(text, _ids(tokenizer, rendered))

    def differences(self, other: TokenProbe, where: str) -> list[str]:
        """Return which probes differ, with both values; an unknown one is not compared.

        Args:
            other: of the tokenizer to compare with.
            where: name of the other one's place ("the engine"), for messages.
        """
        compared = (
            ("the tokenizer", "a text", self.text, other.text),
            ("the chat template", "a conversation", self.conversation, other.conversation),
        )
        return [
            f"{name} makes {_difference(what, own, others, where)}"
            for name, what, own, others in compared
            if own is not None and others is not None and own != others
        ]

    @property
    def hashes(self) -> dict[str, str]:
        """Hashes of the known probes, by name."""
        return {name: content_id(ids) for name, ids in vars(self).items() if ids is not None}


def _difference(what: str, own: Sequence[int], others: Sequence[int], where: str) -> str:
    pairs = enumerate(zip_longest(own, others))
    place, (first, second) = next((place, pair) for place, pair in pairs if pair[0] != pair[1])
    return (
        f"{len(own)} tokens of {what} here, {len(others)} in {where} (token {place} is {_shown(first)} here, "
        f"{_shown(second)} there)"
    )


def _shown(token: int | None) -> str:
    return "none" if token is None else str(token)


def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(int(token) for token in tokenizer.encode(text, add_special_tokens=False))
