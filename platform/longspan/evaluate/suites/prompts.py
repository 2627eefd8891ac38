"""Texts of lm-evaluation-harness as token ids, and prompts that are longer than a task allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from longspan.chat.tokenizer import DATE
from longspan.errors import UserError
from longspan.evaluate.prompt_format import CompletionFormat

PROMPT = "prompt"
"""Field of a task's documents: text of its question, document included."""
DOCUMENT = "document_span"
"""Field of a task's documents: characters [from, to) of `PROMPT` that hold the document."""
SEPARATOR = "document_separator"
"""Field of a task's documents: text that follows a document that was shortened."""


@dataclass(frozen=True)
class PromptEncoder:
    """Encodes texts as lm-evaluation-harness' backend `hf` does, so that scores are comparable.

    But for tokenizers that put EOS behind every text: that would end a prompt before its answer, and is left out.

    Attributes:
        tokenizer: of transformers.
    """

    tokenizer: Any

    @property
    def prefix_id(self) -> int:
        """Token that stands before a text without a context: BOS, or EOS if there is none."""
        bos = self.tokenizer.bos_token_id
        return int(bos if bos is not None else self.tokenizer.eos_token_id)

    @cached_property
    def _before(self) -> tuple[int, ...]:
        """Ids that the tokenizer puts before a text of its own accord."""
        return CompletionFormat(self.tokenizer).prefix_ids

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, after those that the tokenizer puts before it, unless it begins with BOS itself."""
        ids = list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        begins = text.startswith(self.tokenizer.decode(self.prefix_id))
        return ids if begins else [*self._before, *ids]

    def pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Token ids of a context and of its continuation.

        Blanks at the end of the context belong to the continuation, whose first token would be another one without.
        """
        if not context:
            ids = list(self.tokenizer(continuation, add_special_tokens=False)["input_ids"])
            if ids and ids[0] == self.prefix_id:
                return ids[:1], ids[1:]
            return [self.prefix_id], ids
        blanks = len(context) - len(context.rstrip())
        if blanks:
            context, continuation = context[:-blanks], context[-blanks:] + continuation
        context_ids = self.encode(context)
        return context_ids, self.encode(context + continuation)[len(context_ids) :]

    def cut_left(self, ids: Sequence[int], tokens: int) -> list[int]:
        """Return the last tokens of a prompt, at most so many; a BOS at its beginning stays."""
        if len(ids) <= tokens:
            return list(ids)
        if tokens > 1 and ids[0] == self.tokenizer.bos_token_id:
            return [ids[0], *ids[len(ids) - tokens + 1 :]]
        return list(ids[len(ids) - tokens :])

    def cut_document(self, text: str, doc: Mapping[str, Any], tokens: int) -> list[int]:
        """Return the ids of a prompt whose document is shortened at its end.

        Args:
            text: whole prompt, such as `PROMPT` in a chat template.
            doc: task's document, with `PROMPT`, `DOCUMENT` and `SEPARATOR`.
            tokens: most tokens of the prompt.

        Raises:
            UserError: the document is not marked, or the rest of the prompt is too long by itself.
        """
        ids = self.encode(text)
        if len(ids) <= tokens:
            return ids
        offset = text.rfind(doc[PROMPT]) if DOCUMENT in doc else -1
        if offset < 0:
            raise UserError(
                "truncate_prompt.side: 'document' needs a task that marks its document; use 'left'"
            )
        start, end = (offset + place for place in doc[DOCUMENT])
        head, body, tail = text[:start], text[start:end], doc.get(SEPARATOR, "") + text[end:]
        places = self.tokenizer(body, add_special_tokens=False, return_offsets_mapping=True)
        ends = [to for _, to in places["offset_mapping"]]
        # Encoded together the parts may have a few tokens more than one by one.
        keep = min(len(ends), tokens - len(self.encode(head + tail)))
        while keep > 0:
            shortened = self.encode(head + body[: ends[keep - 1]] + tail)
            if len(shortened) <= tokens:
                return shortened
            keep -= len(shortened) - tokens
        raise UserError(
            f"truncate_prompt.tokens: {tokens:,} leave nothing of a document; allow more tokens"
        )

    def render(self, history: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """Return turns as the chat template writes them.

        Raises:
            UserError: the template refuses them; lm-evaluation-harness would drop the system's turn.
        """
        import jinja2

        try:
            return self.tokenizer.apply_chat_template(
                [dict(turn) for turn in history],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
                **DATE,
            )
        except jinja2.exceptions.TemplateError as error:
            raise UserError(
                f"suites: the chat template refuses the task's turns ({error}); run this task without the template"
            ) from error
