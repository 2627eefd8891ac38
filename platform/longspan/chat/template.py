"""A conversation as tokens, by the tokenizer's own chat template, and which of them are answers.

The template renders the conversation once, as a text, and the tokenizer encodes that text once: the
ids are those of any other tool. Where an answer begins is found by rendering the turns before it as
well, which must be how the whole text begins. A template that says so itself, with
``{% generation %}``, is taken at its word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from longspan.chat.conversation import Conversation, Message, NotAConversation
from longspan.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
DAY = datetime(2024, 7, 26)
"""For templates that state a date and let it be given: the same tokens on every day (Llama 3's own default)."""
REFUSED = "its chat template refuses it"
OTHERWISE = "its chat template writes an answer otherwise"
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Every token that is marked special, the longest first: spelled out in a turn it would become one."""
    added = tokenizer.added_tokens_decoder.values()
    found = {str(token.content) for token in added if token.special}
    return tuple(sorted(found, key=lambda token: (-len(token), token)))


def render(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, str]], ask: bool = False
) -> str:
    """Turns as the chat template writes them; ``ask`` adds what comes before an answer.

    Raises:
        jinja2.TemplateError: the template refuses them.
    """
    return tokenizer.apply_chat_template(
        [dict(turn) for turn in turns], tokenize=False, add_generation_prompt=ask, **_date()
    )


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
        specials = "|".join(map(re.escape, control_tokens(tokenizer)))
        self._special = re.compile(specials or r"\Z.")  # The latter matches nothing.

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
            NotAConversation: the template refuses it, or its answers can't be told from the rest.
        """
        text, spans = (
            self._marked_spans(conversation) if self._marked else self._spans(conversation)
        )
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tokens = np.array(encoded["input_ids"], np.int32)
        offsets = np.array(encoded["offset_mapping"], np.int64).reshape(-1, 2)
        answers = np.zeros(len(tokens), bool)
        for start, stop in spans:
            found = (offsets[:, 0] < stop) & (offsets[:, 1] > start)
            if not found.any():
                raise NotAConversation(OTHERWISE, "an answer has no token of its own")
            answers |= found
        return tokens, answers

    def control_token_in(self, conversation: Conversation) -> str | None:
        """A control token that is spelled out in a turn, where it would become one."""
        turns = (self._special.search(message.content) for message in conversation.messages)
        return next((found[0] for found in turns if found), None)

    def end_of_turn(self) -> int | None:
        """The control token that ends an answer; None where there is none."""
        tokens, answers = self.encode(
            Conversation((Message("user", "Hi"), Message("assistant", "Yo")))
        )
        last = int(tokens[answers][-1])
        ends = self._special.fullmatch(str(self._tokenizer.convert_ids_to_tokens(last)))
        return last if ends else None

    def _spans(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """The rendered text, and where answers lie in it."""
        turns = conversation.turns
        text, spans = self._render(turns), []
        for number, message in enumerate(conversation.messages):
            if message.role != "assistant":
                continue
            before = self._render(turns[:number], ask=True)
            end = self._end(text, len(before), message.content.strip())
            if not text.startswith(before) or end is None:
                raise NotAConversation(
                    OTHERWISE,
                    f"turn {number + 1}; mark answers in the template with {{% generation %}}",
                )
            spans.append((len(before), end))
        return text, spans

    def _end(self, text: str, start: int, answer: str) -> int | None:
        """Where an answer ends: with the special token that follows it, if one does; None if it is not there."""
        ends = re.compile(rf"{re.escape(answer)}(\s*(?:{self._special.pattern}))?")
        found = list(ends.finditer(text, start))
        chosen = next((match for match in found if match[1]), found[0] if found else None)
        # What comes before it may be a template's own words, but no other turn.
        if chosen is None or self._special.search(text, start, chosen.start()):
            return None
        return chosen.end()

    def _marked_spans(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """The same, as the template says."""
        import jinja2
        from transformers.utils.chat_template_utils import render_jinja_template

        renderer: Any = render_jinja_template
        try:
            (text,), (spans,) = renderer(
                conversations=[conversation.turns],
                chat_template=self._tokenizer.chat_template,
                return_assistant_tokens_mask=True,
                **self._tokenizer.special_tokens_map,
                **_date(),
            )
        except jinja2.TemplateError as error:
            raise NotAConversation(REFUSED, str(error)) from None
        asked = sum(message.role == "assistant" for message in conversation.messages)
        if len(spans) != asked:
            raise NotAConversation(OTHERWISE, f"it marks {len(spans)} answers of {asked}")
        return text, list(spans)

    def _render(self, turns: list[dict[str, str]], ask: bool = False) -> str:
        """Turns as text; ``ask`` adds what comes before an answer."""
        import jinja2

        try:
            return render(self._tokenizer, turns, ask)
        except jinja2.TemplateError as error:
            raise NotAConversation(REFUSED, str(error)) from None


def _date() -> dict[str, Any]:
    return {"date_string": DAY.strftime("%d %b %Y")}
