"""A model's tokenizer with its chat template: exact counts, and where every token stands in a text."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longspan.chat.template import control_tokens, render
from longspan.errors import UserError
from longspan.ingest.tokenizer import tokenizer_hash
from longspan.instruct.hashing import content_id

Messages = Sequence[dict[str, str]]


def user(content: str) -> Messages:
    """A conversation that begins with a user's turn."""
    return [{"role": "user", "content": content}]


@dataclass(frozen=True)
class Encoded:
    """A text's tokens by their places.

    Attributes:
        characters: length of the text.
        starts: each token's first character, int64 [tokens].
        ends: the character after each token's last, int64 [tokens].
    """

    characters: int
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.starts)

    def character(self, token: int) -> int:
        """Where a token begins; what no token covers belongs to the token before it."""
        if token == 0:
            return 0
        return self.characters if token == len(self) else int(self.starts[token])

    def is_cut(self, token: int) -> bool:
        """Whether the text can be cut before a token: some tokens begin inside a character."""
        if token in (0, len(self)):
            return True
        return bool(self.starts[token] >= self.ends[token - 1])

    def token_at(self, character: int) -> int:
        """The first token that begins at a character or after it."""
        return int(np.searchsorted(self.starts, character))

    def token_holding(self, character: int) -> int:
        """The first token that begins at a character, or else the one that it is inside of."""
        token = self.token_at(character)
        if token < len(self) and self.starts[token] == character:
            return token
        return max(0, token - 1)


class ChatTokenizer:
    """A tokenizer out of a local folder. It travels to other processes, which need no folder then.

    Args:
        folder: where its files are.
        key: the recipe's key that names it, for messages.

    Raises:
        UserError: there is none, it has no chat template, or it is not in the fast format.
    """

    def __init__(self, folder: str | os.PathLike[str], key: str = "tokenizer") -> None:
        from transformers import AutoTokenizer

        self.folder = os.fspath(folder)
        try:
            self._loaded: Any = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        except Exception as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{key}: {self.folder!r} holds no tokenizer: {first}") from error
        if not self._loaded.is_fast:
            raise UserError(
                f"{key}: the tokenizer of {self.folder!r} has no tokenizer.json (the fast format)"
            )
        if not self._loaded.chat_template:
            raise UserError(
                f"{key}: the tokenizer of {self.folder!r} has no chat template; name one of a chat "
                "model, or add a chat_template.jinja to the folder"
            )
        self._pickled = pickle.dumps(self._loaded)
        self.hash = content_id(tokenizer_hash(Path(self.folder)), str(self._loaded.chat_template))
        self.control_tokens = control_tokens(self._loaded)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.hash, self.folder, self.control_tokens, self._pickled)

    def encode(self, text: str) -> Encoded:
        """The tokens of a text, without any that the tokenizer would put around it."""
        found = self._loaded(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        places = np.array(found["offset_mapping"], np.int64).reshape(-1, 2)
        return Encoded(len(text), places[:, 0], places[:, 1])

    def count(self, text: str) -> int:
        """Number of tokens of a text."""
        return len(self._loaded(text, add_special_tokens=False, verbose=False)["input_ids"])

    def rendered(self, messages: Messages, *, reply: bool = False) -> str:
        """Messages as the chat template writes them; `reply` opens the assistant's turn."""
        return render(self._loaded, messages, ask=reply)

    def prompt_ids(self, content: str) -> list[int]:
        """Token ids of one user's turn, and of the beginning of the reply to it."""
        text = self.rendered(user(content), reply=True)
        return list(self._loaded(text, add_special_tokens=False, verbose=False)["input_ids"])

    def spells_control_token(self, text: str) -> bool:
        """Whether a text spells out a token that would end a turn, say, if it were rendered."""
        return any(token in text for token in self.control_tokens)


_RESTORED: dict[str, ChatTokenizer] = {}


def _restored(
    hash: str, folder: str, control_tokens: tuple[str, ...], pickled: bytes
) -> ChatTokenizer:
    """One in each process: a large vocabulary takes a second to read."""
    if hash not in _RESTORED:
        made = object.__new__(ChatTokenizer)
        made.hash, made.folder, made.control_tokens = hash, folder, control_tokens
        made._pickled, made._loaded = pickled, pickle.loads(pickled)
        _RESTORED[hash] = made
    return _RESTORED[hash]
