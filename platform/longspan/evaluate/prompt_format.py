"""Prompt formats: how a sample becomes token ids, as a text to complete or as a chat's turn."""

from __future__ import annotations

import pickle
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from longspan.chat.tokenizer import ChatTokenizer, control_tokens
from longspan.errors import UserError
from longspan.evaluate.row_prefix import row_prefix
from longspan.evaluate.samples import PromptFormat
from longspan.hashing import content_id
from longspan.model.load import load_tokenizer
from longspan.model.source import named

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Template = Literal["none", "chat"]


class _Format:
    """Identity, counting, and the control tokens that a prompt may have: the part that both formats share."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *facts: object) -> None:
        self.tokenizer: Any = tokenizer
        self.control_tokens = tuple(control_tokens(tokenizer))
        self.hash = content_id("prompt format", type(self).__name__, _definition(tokenizer), *facts)
        ids = tokenizer.convert_tokens_to_ids([*self.control_tokens])
        # Text that the vocabulary lacks also becomes the unknown token.
        self._unknown = tokenizer.unk_token
        self._control_ids = {*tokenizer.all_special_ids, *ids} - {tokenizer.unk_token_id}
        self._own_control_tokens = self._controls(self._ids("a", ""))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Format) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def prompt_ids(self, text: str, answer_prefix: str) -> list[int]:
        """Token ids of a whole prompt; see `PromptFormat`.

        Raises:
            UserError: the text spells out a control token, which would become one.
        """
        ids = self._ids(text, answer_prefix)
        spells_unknown = bool(self._unknown) and self._unknown in text + answer_prefix
        if spells_unknown or self._controls(ids) != self._own_control_tokens:
            found = [token for token in self.control_tokens if token in text + answer_prefix]
            raise UserError(
                f"evaluate: a prompt spells out the control token {found[0] if found else 'of a model'!r}, which would "
                f"end or begin a turn ({text[:80]!r}); leave the text that it is from out"
            )
        return ids

    def count(self, text: str) -> int:
        """Number of tokens of a text by itself."""
        return len(self._encode(text))

    def _ids(self, text: str, answer_prefix: str) -> list[int]:
        raise NotImplementedError

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _controls(self, ids: list[int]) -> int:
        return sum(1 for token in ids if token in self._control_ids)


class CompletionFormat(_Format):
    """A text to complete: the prompt's text, and the beginning of the answer right after it.

    Before it stands what the tokenizer puts before any text (BOS). What it puts after one (EOS) is left
    out: it would end the text before the answer.

    Args:
        tokenizer: of the model; it needs no chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.prefix_ids = row_prefix(tokenizer)
        super().__init__(tokenizer, self.prefix_ids)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored_completion, (self.hash, pickle.dumps(self.tokenizer))

    def _ids(self, text: str, answer_prefix: str) -> list[int]:
        return [*self.prefix_ids, *self._encode(text + answer_prefix)]


class ChatFormat(_Format):
    """A user's turn in the tokenizer's own chat template, and the beginning of the reply to it.

    The template states every control token, BOS included; the tokenizer adds none.

    Args:
        chat: the tokenizer with its template.
        append_answer_prefix: begin the reply with the sample's answer prefix.
    """

    def __init__(self, chat: ChatTokenizer, append_answer_prefix: bool = False) -> None:
        self.chat = chat
        self.append_answer_prefix = append_answer_prefix
        super().__init__(chat.loaded, chat.hash, append_answer_prefix)

    def __reduce__(self) -> tuple[Any, ...]:
        return ChatFormat, (self.chat, self.append_answer_prefix)

    def _ids(self, text: str, answer_prefix: str) -> list[int]:
        prompt = self.chat.render([{"role": "user", "content": text}], ask=True)
        # The separator between question and answer is the template's.
        return self._encode(prompt + answer_prefix.lstrip() * self.append_answer_prefix)


def load_format(
    folder: str | Path,
    template: Template,
    *,
    append_answer_prefix: bool = False,
    key: str = "tokenizer",
) -> CompletionFormat | ChatFormat:
    """Load a format from a local folder with a tokenizer.

    Args:
        folder: a Hugging Face folder.
        template: "none" for a text to complete, "chat" for the tokenizer's chat template.
        append_answer_prefix: for "chat": begin the reply with the sample's answer prefix.
        key: the recipe's key that names the folder, for messages.

    Raises:
        UserError: the folder holds no tokenizer, or one without chat template for "chat".
    """
    if template == "chat":
        return ChatFormat(ChatTokenizer.load(folder, key), append_answer_prefix)
    with named(key):
        loaded = load_tokenizer(folder)
    return CompletionFormat(loaded)


def prompt_tokens(format: PromptFormat, text: str, answer_prefix: str) -> int:
    """Number of tokens of a whole prompt."""
    return len(format.prompt_ids(text, answer_prefix))


def _definition(tokenizer: Any) -> str:
    """All that decides a text's tokens; a slow tokenizer has no definition beyond its vocabulary."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and hasattr(backend, "to_str"):
        return backend.to_str()
    return content_id(type(tokenizer).__name__, sorted(tokenizer.get_vocab().items()))


@lru_cache(maxsize=4)
def _restored_completion(hash: str, pickled: bytes) -> CompletionFormat:
    """One in each process: a large vocabulary takes a second to read."""
    return CompletionFormat(pickle.loads(pickled))
