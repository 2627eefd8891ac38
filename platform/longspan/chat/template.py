"""A conversation as tokens, by the tokenizer's own chat template, and which of them are answers.

The template renders the conversation once, as a text, and the tokenizer encodes that text once: the
ids are those of any other tool. Where an answer begins is found by rendering the turns before it as
well, which must be how the whole text begins. A template that says so itself, with
``{% generation %}``, is taken at its word.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from longspan.chat.conversation import Conversation, Message, NotAConversation
from longspan.chat.omissions import Omissions
from longspan.chat.tokenizer import DATE, ChatTokenizer
from longspan.chat.turns import Fields
from longspan.errors import UserError

Span = tuple[int, int]
OF_A_TEMPLATE = (TypeError, ValueError, LookupError, ArithmeticError, RecursionError)
"""Exceptions that an expression of a template can raise, besides jinja's own."""
REFUSED = "its chat template refuses it"
OTHERWISE = "its chat template writes an answer otherwise"
_TURNS = (Message("user", "Hi"), Message("assistant", "Yo"))
PROBES = (Conversation(_TURNS), Conversation((Message("system", "Be brief."), *_TURNS)))
"""Conversations to try a template with; some refuse those without a system message."""
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True)
class EndOfTurn:
    """Text that ends an answer, and its token.

    Attributes:
        text: as the chat template writes it.
        token: its id; None where it is several tokens.
    """

    text: str
    token: int | None


class Template:
    """Renders conversations for one tokenizer.

    Answers include what ends a turn, which the model has to learn to say, and nothing after it: a
    line's end between turns is the template's.

    Args:
        tokenizer: with a chat template.
        end_of_turn: the text that ends an answer; the control token that follows one if None.
    """

    def __init__(self, tokenizer: ChatTokenizer, end_of_turn: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._stated_end = end_of_turn
        self._is_marked = bool(_GENERATION.search(str(tokenizer.loaded.chat_template)))
        ends = re.escape(end_of_turn) if end_of_turn else tokenizer.special.pattern
        self._end_pattern = rf"\s*(?P<end>{ends})"
        self._omissions = Omissions(self._render)

    def encode(self, conversation: Conversation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens and which of them are of answers.

        A token that begins before an answer and reaches into it counts as the answer's.

        Returns:
            tokens: int32 [tokens].
            answers: bool [tokens], of answers to train on.
            excluded: bool [tokens], of answers that are excluded from training.

        Raises:
            NotAConversation: the template refuses it, leaves some of it out, or its answers can't be
                told from the rest.
        """
        text, spans = self._rendered(conversation)
        self._omissions.require_none(conversation, text)
        encoded = self._tokenizer.encode(text)
        found = {True: np.zeros(len(encoded), bool), False: np.zeros(len(encoded), bool)}
        answers = [message for message in conversation.messages if message.role == "assistant"]
        for (start, stop), answer in zip(spans, answers, strict=True):
            tokens = (encoded.starts < stop) & (encoded.ends > start)
            if not tokens.any():
                raise NotAConversation(OTHERWISE, "an answer has no token of its own")
            found[answer.is_trained] |= tokens
        return encoded.tokens, found[True], found[False] & ~found[True]

    def control_token_in(self, conversation: Conversation) -> str | None:
        """A control token that is spelled out in a conversation, where it would become one."""
        found = map(self._tokenizer.control_token_in, conversation.texts)
        return next((token for token in found if token), None)

    @cached_property
    def end_of_turn(self) -> EndOfTurn | None:
        """End of an answer, or None if the template writes none that a model could stop at."""
        try:
            text, spans = self._probe()
        except NotAConversation:
            return None
        start, stop = spans[-1]
        found = list(re.finditer(self._end_pattern, text[start:stop]))
        if not found or found[-1].end() != stop - start:
            return None
        end = found[-1]["end"]
        if self._tokenizer.special.fullmatch(end):
            return EndOfTurn(end, int(self._tokenizer.loaded.convert_tokens_to_ids(end)))
        tokens = self._tokenizer.ids(end)
        return EndOfTurn(end, tokens[0] if len(tokens) == 1 else None)

    def require_end_of_turn(self, key: str) -> EndOfTurn:
        """Return the end of an answer.

        Args:
            key: the recipe's key that names the tokenizer.

        Raises:
            UserError: nothing does: a model would learn answers that never end.
        """
        try:
            text, _ = self._probe()
        except NotAConversation as error:
            raise UserError(
                f"{key}: the chat template fails on a plain conversation: {error}"
            ) from None
        if self.end_of_turn:
            return self.end_of_turn
        where = " within {% generation %}" if self._is_marked else ""
        if self._stated_end:
            raise UserError(
                f"end_of_turn: {self._stated_end!r} does not follow an answer in what the chat template "
                f"renders ({text!r}); name what does, or add it to the template{where}"
            )
        raise UserError(
            f"{key}: the chat template writes no control token behind an answer{where} ({text!r}), so "
            "the model would learn answers that never end; add one to the template (the tokenizer's "
            f"are {_listed(self._tokenizer.control_tokens)}), or name the text that ends a turn with end_of_turn"
        )

    def _probe(self) -> tuple[str, list[Span]]:
        """A plain conversation as the template renders it, and where its answer lies."""
        plain, with_system = PROBES
        try:
            return self._rendered(plain)
        except NotAConversation as error:
            try:
                return self._rendered(with_system)
            except NotAConversation:
                raise error from None

    def _rendered(self, conversation: Conversation) -> tuple[str, list[Span]]:
        return self._marked_spans(conversation) if self._is_marked else self._spans(conversation)

    def _spans(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """The rendered text, and where answers lie in it."""
        turns, tools = conversation.turns, conversation.tools
        text, spans = self._render(turns, tools), []
        for number, message in enumerate(conversation.messages):
            if message.role != "assistant":
                continue
            before = self._render(turns[:number], tools, ask=True)
            if message.fields:
                end = self._end_of_part(text, len(before), self._render(turns[: number + 1], tools))
            else:
                end = self._end(text, len(before), message.content.strip())
            if not text.startswith(before) or end is None:
                raise NotAConversation(
                    OTHERWISE,
                    f"turn {number + 1}; mark answers in the template with {{% generation %}}",
                )
            spans.append((len(before), end))
        return text, spans

    def _end(self, text: str, start: int, answer: str) -> int | None:
        """Where an answer ends: behind what ends its turn, if that follows; None if it is not there."""
        ends = re.compile(rf"{re.escape(answer)}({self._end_pattern})?")
        found = list(ends.finditer(text, start))
        chosen = next((match for match in found if match[1]), found[0] if found else None)
        # What comes before it may be a template's own words, but no other turn.
        if chosen is None or self._tokenizer.special.search(text, start, chosen.start()):
            return None
        return chosen.end()

    def _end_of_part(self, text: str, start: int, so_far: str) -> int | None:
        """Where an answer ends that has other parts than its text, which may hold control tokens.

        Args:
            text: the whole conversation.
            start: where the answer begins.
            so_far: the conversation up to this answer.
        """
        # What comes before the next turn; a template may end a conversation in its own way.
        stop = _num_common(text, so_far)
        if stop <= start:
            return None
        plain = self.end_of_turn
        found = list(re.finditer(self._end_pattern, text[start:stop]))
        ends = [match for match in found if plain and match["end"] == plain.text]
        chosen = ends[0] if ends else found[-1] if found else None
        return start + (chosen.end() if chosen else len(text[start:stop].rstrip()))

    def _marked_spans(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """The rendered text, and where answers lie in it, as the template says."""
        import jinja2
        from transformers.utils.chat_template_utils import render_jinja_template

        renderer: Any = render_jinja_template
        try:
            (text,), (spans,) = renderer(
                conversations=[conversation.turns],
                tools=list(conversation.tools) or None,
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
        return text, [self._with_end(text, *span) for span in spans]

    def _with_end(self, text: str, start: int, stop: int) -> Span:
        """A marked answer, with the stated end of a turn where it follows."""
        if self._stated_end and not text[start:stop].endswith(self._stated_end):
            follows = re.compile(self._end_pattern).match(text, stop)
            return start, follows.end() if follows else stop
        return start, stop

    def _render(
        self, turns: Sequence[Fields], tools: Sequence[Fields] = (), ask: bool = False
    ) -> str:
        """Turns as text; ``ask`` adds what comes before an answer."""
        import jinja2

        try:
            return self._tokenizer.render(turns, ask, tools)
        except (jinja2.TemplateError, *OF_A_TEMPLATE) as error:
            raise NotAConversation(REFUSED, str(error)) from None


def _num_common(first: str, second: str) -> int:
    """Characters with which both texts begin."""
    most = min(len(first), len(second))
    return bisect(range(1, most + 1), False, key=lambda n: first[:n] != second[:n])


def _listed(tokens: Sequence[str]) -> str:
    return ", ".join(map(repr, tokens[:8])) + (", ..." if len(tokens) > 8 else "") or "none"
