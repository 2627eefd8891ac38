"""A conversation as tokens, by the tokenizer's own chat template, and which of them are answers.

The template renders the conversation once, as a text, and the tokenizer encodes that text once: the
ids are those of any other tool. Where an answer begins is found by rendering the turns before it as
well, which must be how the whole text begins. A template that says so itself, with
``{% generation %}``, is taken at its word.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from longspan.chat.conversation import Conversation, Message, NotAConversation
from longspan.chat.tokenizer import DATE, ChatTokenizer

Span = tuple[int, int]
OF_A_TEMPLATE = (TypeError, ValueError, LookupError, ArithmeticError, RecursionError)
"""Exceptions that an expression of a template can raise, besides jinja's own."""
REFUSED = "its chat template refuses it"
OTHERWISE = "its chat template writes an answer otherwise"
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


class Template:
    """Renders conversations for one tokenizer.

    Answers include the token that ends a turn, which the model has to learn to say, and nothing
    after it: a line's end between turns is the template's.
    """

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._marked = bool(_GENERATION.search(str(tokenizer.loaded.chat_template)))

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
        encoded = self._tokenizer.encode(text)
        answers = np.zeros(len(encoded), bool)
        for start, stop in spans:
            found = (encoded.starts < stop) & (encoded.ends > start)
            if not found.any():
                raise NotAConversation(OTHERWISE, "an answer has no token of its own")
            answers |= found
        return encoded.tokens, answers

    def control_token_in(self, conversation: Conversation) -> str | None:
        """A control token that is spelled out in a turn, where it would become one."""
        turns = (self._tokenizer.control_token_in(turn.content) for turn in conversation.messages)
        return next((found for found in turns if found), None)

    def end_of_turn(self) -> int | None:
        """The control token that ends an answer; None where there is none."""
        tokens, answers = self.encode(
            Conversation((Message("user", "Hi"), Message("assistant", "Yo")))
        )
        last = int(tokens[answers][-1])
        name = str(self._tokenizer.loaded.convert_ids_to_tokens(last))
        ends = self._tokenizer.special.fullmatch(name)
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
        ends = re.compile(rf"{re.escape(answer)}(\s*(?:{self._tokenizer.special.pattern}))?")
        found = list(ends.finditer(text, start))
        chosen = next((match for match in found if match[1]), found[0] if found else None)
        # What comes before it may be a template's own words, but no other turn.
        if chosen is None or self._tokenizer.special.search(text, start, chosen.start()):
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
                chat_template=self._tokenizer.loaded.chat_template,
                return_assistant_tokens_mask=True,
                **self._tokenizer.loaded.special_tokens_map,
                **DATE,
            )
        except (jinja2.TemplateError, *OF_A_TEMPLATE) as error:
            raise NotAConversation(REFUSED, str(error)) from None
        asked = sum(message.role == "assistant" for message in conversation.messages)
        if len(spans) != asked:
            raise NotAConversation(OTHERWISE, f"it marks {len(spans)} answers of {asked}")
        return text, list(spans)

    def _render(self, turns: list[dict[str, str]], ask: bool = False) -> str:
        """Turns as text; ``ask`` adds what comes before an answer."""
        import jinja2

        try:
            return self._tokenizer.render(turns, ask)
        except (jinja2.TemplateError, *OF_A_TEMPLATE) as error:
            raise NotAConversation(REFUSED, str(error)) from None
