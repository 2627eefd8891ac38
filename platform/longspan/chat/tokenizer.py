"""A tokenizer with its chat template: what both self-instruct and finetuning know a model's turns by."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from longspan.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DATE = {"date_string": datetime(2024, 7, 26).strftime("%d %b %Y")}
"""For templates that state a date and let it be given: the same tokens on every day (Llama 3's own default)."""
HASH_DIGITS = 24


@dataclass(frozen=True)
class Encoded:
    """A text's tokens and their places in it.

    Attributes:
        characters: length of the text.
        tokens: ids, int32 [tokens].
        starts: each token's first character, int64 [tokens].
        ends: the character after each token's last, int64 [tokens].
    """

    characters: int
    tokens: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

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
    """Renders turns as texts by the tokenizer's own template, and texts as tokens.

    It travels to other processes, which need no folder then.

    Args:
        tokenizer: what transformers loads.
        key: the recipe's key that names it, for messages.

    Attributes:
        hash: of its definition and its template.
        control_tokens: the tokens that are marked special, the longest first.
        special: matches any of them.

    Raises:
        UserError: it has no chat template, or cannot tell where its tokens lie in a text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, key: str = "tokenizer") -> None:
        if not tokenizer.is_fast:
            raise UserError(
                f"{key}: the tokenizer of {tokenizer.name_or_path!r} has no tokenizer.json (the fast "
                "format), so it can't tell where its tokens lie in a text"
            )
        if not tokenizer.chat_template:
            raise UserError(
                f"{key}: the tokenizer of {tokenizer.name_or_path!r} has no chat template; name one of "
                "a chat model, or add a chat_template.jinja to its folder"
            )
        self.loaded: Any = tokenizer
        self.hash = _hash(self.loaded)
        self.control_tokens = control_tokens(tokenizer)
        self.special = re.compile("|".join(map(re.escape, self.control_tokens)) or r"\Z.")

    @classmethod
    def load(cls, folder: str | os.PathLike[str], key: str = "tokenizer") -> ChatTokenizer:
        """Of the tokenizer in a local folder.

        Raises:
            UserError: as above, or there is none.
        """
        from transformers import AutoTokenizer

        try:
            loaded = AutoTokenizer.from_pretrained(
                os.fspath(folder), local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{key}: {os.fspath(folder)!r} holds no tokenizer: {first}") from error
        return cls(loaded, key)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.hash, pickle.dumps(self.loaded))

    def render(
        self,
        turns: Sequence[Mapping[str, Any]],
        ask: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Turns and definitions of tools as the template writes them.

        `ask` adds what comes before an answer.

        Raises:
            jinja2.TemplateError: the template refuses them.
        """
        return self.loaded.apply_chat_template(
            [dict(turn) for turn in turns],
            tools=[dict(tool) for tool in tools] or None,
            tokenize=False,
            add_generation_prompt=ask,
            **DATE,
        )

    def encode(self, text: str) -> Encoded:
        """The tokens of a text, without any that the tokenizer would put around it."""
        found = self.loaded(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        places = np.array(found["offset_mapping"], np.int64).reshape(-1, 2)
        tokens = np.array(found["input_ids"], np.int32)
        return Encoded(len(text), tokens, places[:, 0], places[:, 1])

    def ids(self, text: str) -> list[int]:
        """The token ids alone."""
        return list(self.loaded(text, add_special_tokens=False, verbose=False)["input_ids"])

    def prompt_ids(self, content: str) -> list[int]:
        """Token ids of one user's turn, and of the beginning of the reply to it."""
        return self.ids(self.render([{"role": "user", "content": content}], ask=True))

    def count(self, turns: Sequence[Mapping[str, str]]) -> int:
        """Number of tokens of rendered turns."""
        return len(self.ids(self.render(turns)))

    def control_token_in(self, text: str) -> str | None:
        """A control token that a text spells out: rendered in a turn it would become one."""
        found = self.special.search(text)
        return found[0] if found else None


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return every token that is marked special, the longest first."""
    added = tokenizer.added_tokens_decoder.values()
    found = {str(token.content) for token in added if token.special}
    return sorted(found, key=lambda token: (-len(token), token))


def _hash(tokenizer: Any) -> str:
    digest = hashlib.sha256()
    for part in (tokenizer.backend_tokenizer.to_str(), str(tokenizer.chat_template)):
        digest.update(f"{len(part)}\n{part}".encode())
    return digest.hexdigest()[:HASH_DIGITS]


_RESTORED: dict[str, ChatTokenizer] = {}


def _restored(hash: str, pickled: bytes) -> ChatTokenizer:
    """One in each process: a large vocabulary takes a second to read."""
    if hash not in _RESTORED:
        _RESTORED[hash] = ChatTokenizer(pickle.loads(pickled))
    return _RESTORED[hash]
