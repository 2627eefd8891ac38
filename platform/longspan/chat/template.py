"""A conversation as tokens, by the tokenizer's own chat template, and which of them are answers.

The template renders the conversation once, as a text, and the tokenizer encodes that text once: the
ids are those of any other tool. Where an answer begins and ends is found by rendering the turns up
to it as well, which must be how the whole text begins. A template that says so itself, with
``{% generation %}``, is taken at its word.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from longspan.chat.conversation import Conversation
from longspan.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


class Template:
    """Renders conversations for one tokenizer.

    Answers include the token that ends a turn, which the model has to learn to say, and nothing
    after it: a line's end between turns is the template's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Wrap a tokenizer.

        Raises:
            UserError: it has no chat template, or cannot tell where its tokens lie in a text.
        """
        if not tokenizer.chat_template:
            raise UserError(
                "tokenizer: it has no chat template (chat_template.jinja, or chat_template in "
                "tokenizer_config.json); name one that has with 'tokenizer'"
            )
        if not tokenizer.is_fast:
            raise UserError(
                "tokenizer: it has no tokenizer.json, so it can't tell which of its tokens are answers"
            )
        self._tokenizer = tokenizer
        self._marked = bool(_GENERATION.search(str(tokenizer.chat_template)))
        added = tokenizer.added_tokens_decoder.values()
        specials = [str(token.content) for token in added if token.special]
        longest_first = [re.escape(token) for token in sorted(specials, key=len, reverse=True)]
        self._special = re.compile("|".join(longest_first) or r"\Z.")  # The latter matches nothing.

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Template:
        """Of the tokenizer in a local folder."""
        from transformers import AutoTokenizer

        return cls(AutoTokenizer.from_pretrained(os.fspath(folder), local_files_only=True))

    def encode(self, conversation: Conversation) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and which of them are of answers.

        A token that begins before an answer and reaches into it counts as the answer's.

        Returns:
            tokens: int32 [tokens].
            answers: bool [tokens].

        Raises:
            UserError: the template renders a turn otherwise once others follow, or refuses it.
        """
        if self._marked:
            return self._as_marked(conversation)
        text = self.render(conversation.turns)
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tokens = np.array(encoded["input_ids"], np.int32)
        offsets = np.array(encoded["offset_mapping"], np.int64).reshape(-1, 2)
        answers = np.zeros(len(tokens), bool)
        for start, stop in self._answers(text, conversation):
            answers |= (offsets[:, 0] < stop) & (offsets[:, 1] > start)
        return tokens, answers

    def control_token_in(self, conversation: Conversation) -> str | None:
        """A control token that is spelled out in a turn, where it would become one."""
        turns = (self._special.search(message.content) for message in conversation.messages)
        return next((found[0] for found in turns if found), None)

    def render(self, turns: list[dict[str, str]], ask: bool = False) -> str:
        """Turns as text; ``ask`` adds what comes before an answer.

        Raises:
            UserError: the template refuses them.
        """
        import jinja2

        try:
            return self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=ask
            )
        except jinja2.TemplateError as error:
            roles = ", ".join(turn["role"] for turn in turns)
            raise UserError(f"tokenizer: its chat template refuses {roles}: {error}") from None

    def _answers(self, text: str, conversation: Conversation) -> list[Span]:
        """Where answers lie in the rendered text."""
        turns, found = conversation.turns, []
        for number, message in enumerate(conversation.messages):
            if message.role != "assistant":
                continue
            before = self.render(turns[:number], ask=True)
            until = self.render(turns[: number + 1])
            if not (text.startswith(before) and text.startswith(until)):
                raise UserError(
                    "tokenizer: its chat template renders a turn otherwise once others follow, so "
                    "answers can't be told from the rest; mark them in the template with "
                    "{% generation %} and {% endgeneration %}"
                )
            found.append((len(before), self._end(text, len(before), len(until))))
        return found

    def _end(self, text: str, start: int, stop: int) -> int:
        """Where an answer ends: with its last special token, if only space follows that."""
        specials = list(self._special.finditer(text, start, stop))
        if specials and not text[specials[-1].end() : stop].strip():
            return specials[-1].end()
        return stop

    def _as_marked(self, conversation: Conversation) -> tuple[np.ndarray, np.ndarray]:
        encoded: Any = self._tokenizer.apply_chat_template(
            conversation.turns,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        answers = np.array(encoded["assistant_masks"], bool)
        return np.array(encoded["input_ids"], np.int32), answers
