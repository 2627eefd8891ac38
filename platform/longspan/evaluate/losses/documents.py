"""Held-out documents as tokens, with the characters that each token stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from longspan.errors import UserError
from longspan.evaluate.documents import Document, documents_hash
from longspan.evaluate.row_prefix import row_prefix
from longspan.evaluate.scoring.requests import Span, Texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class TokenizedDocument:
    """A document in tokens.

    Attributes:
        document: its text.
        text: key of its tokens in `Texts`.
        starts: each token's first character, int64 [tokens].
        ends: the character after each token's last one, int64 [tokens].
    """

    document: Document
    text: str
    starts: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.starts)

    def span(self, start: int, end: int) -> Span:
        """Return tokens [start, end)."""
        assert 0 <= start <= end <= len(self), f"tokens {start} to {end} of {len(self)}"
        return Span(self.text, start, end)


@dataclass(frozen=True)
class TokenizedDocuments:
    """Documents in one tokenizer's tokens.

    Attributes:
        documents: in the order given.
        prefix: tokens that begin every row, such as a BOS token; never scored.
        texts: tokens of all of them.
    """

    documents: tuple[TokenizedDocument, ...]
    prefix: tuple[int, ...]
    texts: Texts = field(repr=False)

    def row(self, *spans: Span) -> tuple[Span, ...]:
        """Return a row of some spans, behind the prefix."""
        if not self.prefix:
            return spans
        return (self.texts.span(self.prefix), *spans)

    @property
    def corpora(self) -> tuple[str, ...]:
        """Corpus of each document."""
        return tuple(each.document.corpus for each in self.documents)

    @property
    def hash(self) -> str:
        """Identity of the documents' texts, whatever the tokenizer."""
        return documents_hash([each.document for each in self.documents])

    def of_corpus(self, corpus: str) -> TokenizedDocuments:
        """Return the documents of one corpus."""
        own = tuple(each for each in self.documents if each.document.corpus == corpus)
        return replace(self, documents=own)


def tokenize(
    tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document]
) -> TokenizedDocuments:
    """Return documents as tokens, each text once; control tokens that a text spells out are text.

    Raises:
        UserError: the tokenizer cannot tell which characters its tokens stand for.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"model: the tokenizer of {tokenizer.name_or_path!r} has no tokenizer.json (the fast format), which "
            "tells the characters of each token; add one to its folder"
        )
    texts = Texts()
    tokenized = []
    for document in {each.id: each for each in documents}.values():
        encoded = tokenizer(
            document.text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        places = np.array(encoded["offset_mapping"], np.int64).reshape(-1, 2)
        key = texts.add(encoded["input_ids"])
        tokenized.append(TokenizedDocument(document, key, places[:, 0], places[:, 1]))
    return TokenizedDocuments(tuple(tokenized), row_prefix(tokenizer), texts)
