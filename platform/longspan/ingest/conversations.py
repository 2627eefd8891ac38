"""Conversations to marked token ids, in the place of a text tokenizer."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from longspan.chat.conversation import Conversation, NotAConversation
from longspan.chat.template import Template
from longspan.corpus.bad_input import BadInput
from longspan.corpus.filters import LeftOut
from longspan.shards.loss_mask import marked


def template_hash(folder: str | os.PathLike[str]) -> str:
    """Hash of a chat template that has a file of its own; "" where there is none."""
    path = Path(folder) / "chat_template.jinja"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""


class ConversationTokenizer:
    """Encodes conversations by their chat template; answers are marked (:mod:`.marks`).

    Nothing is put before or after what the template renders.

    Attributes:
        name: the implementation in use.
        added: tokens that every document has besides those of its text.
    """

    name = "transformers"
    added = 0

    def __init__(self, template: Template) -> None:
        self._template = template
        self._waiting: dict[str, np.ndarray] = {}

    def verify(self, texts: Sequence[str]) -> bool:
        """There is no second implementation to compare with."""
        return True

    def reference(self) -> ConversationTokenizer:
        """This one."""
        return self

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Marked token ids of all conversations, one after another, and each one's length.

        Args:
            texts: as `Conversation.dumps` writes them.

        Returns:
            tokens: uint32 [tokens].
            lengths: int64 [conversations].
        """
        encoded = [self._taken(text) for text in texts]
        lengths = np.array([len(tokens) for tokens in encoded], np.int64)
        return np.concatenate([np.empty(0, np.uint32), *encoded]).astype(np.uint32), lengths

    def checked(
        self, items: Iterable[str | LeftOut | BadInput], object_path: str
    ) -> Iterator[str | LeftOut | BadInput]:
        """Conversations; those that the template can't render, or that spell out a control token, are bad input."""
        for number, item in enumerate(items, 1):
            if isinstance(item, str):
                try:
                    self._waiting[item] = self._encoded(item)
                except NotAConversation as error:
                    where = f"conversation {number}"
                    yield BadInput(object_path, where, error.reason, error.detail)
                    continue
            yield item

    def _taken(self, text: str) -> np.ndarray:
        waiting = self._waiting.pop(text, None)
        return self._encoded(text) if waiting is None else waiting

    def _encoded(self, text: str) -> np.ndarray:
        conversation = Conversation.loads(text)
        if token := self._template.control_token_in(conversation):
            raise NotAConversation("control token in a turn", repr(token))
        return marked(*self._template.encode(conversation))
