"""Tokens of texts and conversations, counted by the served model's own tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from longspan.errors import UserError
from longspan.serve.gateway.control_tokens import control_tokens_of
from longspan.serve.page.bounded_threads import BoundedThreads

MAX_COUNTING = 4
"""Texts that are counted at once, each in a thread."""
MAX_WAITING = 64
"""Texts that wait to be counted."""


class TokenCounter:
    """Counts in threads, as a document may be megabytes long.

    Attributes:
        model: the name that clients call the model by.
        window: tokens of a prompt and its answer.
        control_tokens: of the model's, which texts in a conversation are kept from becoming.
    """

    def __init__(self, folder: Path, model: str, window: int) -> None:
        """Load the tokenizer of a model's folder."""
        from longspan.model.load import load_tokenizer

        self.model, self.window = model, window
        self._tokenizer: Any = load_tokenizer(folder)
        self.control_tokens = control_tokens_of(self._tokenizer)
        self._threads = BoundedThreads(
            "token count", max_running=MAX_COUNTING, max_waiting=MAX_WAITING
        )

    async def count(self, messages: list[dict[str, Any]]) -> int:
        """Tokens of the prompt that the chat template makes of a conversation.

        Raises:
            UserError: there is no template, or it refuses the conversation.
            Busy: too many texts wait to be counted.
        """
        return await self._threads.run(lambda: self._count_conversation(messages))

    async def count_texts(self, texts: list[str]) -> list[int]:
        """Tokens of each text alone, without any that mark its beginning or end.

        Raises:
            Busy: too many texts wait to be counted.
        """
        return await self._threads.run(lambda: [self._count(text, special=False) for text in texts])

    async def count_body(self, body: dict[str, Any]) -> int:
        """Tokens of the prompt in a request to /v1/chat/completions or /v1/completions.

        Raises:
            Busy: too many texts wait to be counted.
        """
        if "messages" in body:
            return await self.count(body["messages"])
        prompt = body.get("prompt", "")
        if isinstance(prompt, str):
            return await self._threads.run(lambda: self._count(prompt, special=True))
        return await self._threads.run(lambda: self._count_longest(prompt))

    def _count_longest(self, prompt: list[Any]) -> int:
        """Ids, or several prompts, of which the longest is the one that doesn't fit."""
        prompts = prompt if prompt and isinstance(prompt[0], str | list) else [prompt]
        lengths = [len(p) if isinstance(p, list) else self._count(p, special=True) for p in prompts]
        return max(lengths, default=0)

    def _count_conversation(self, messages: list[dict[str, Any]]) -> int:
        import jinja2

        try:
            text = self._tokenizer.apply_chat_template(
                [
                    each | {"content": self.control_tokens.split(_text(each.get("content")))}
                    for each in messages
                ],
                tokenize=False,
                add_generation_prompt=True,
            )
        except (jinja2.TemplateError, TypeError, KeyError, ValueError) as error:
            raise UserError(
                f"the model's chat template refuses the conversation: {error}"
            ) from None
        return self._count(text, special=False)

    def _count(self, text: str, *, special: bool) -> int:
        return len(self._tokenizer(text, add_special_tokens=special)["input_ids"])


def _text(content: Any) -> str:
    """A turn's text, as the engine joins one that comes in parts."""
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content)
    return content or ""
