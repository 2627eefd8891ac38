"""Held-out documents: the text that probes are generated from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longspan.hashing import content_id


@dataclass(frozen=True)
class Document:
    """One held-out document.

    Attributes:
        id: content id of its text.
        corpus: name of its source.
        origin: path of the object that it was read from.
        text: all of it.
    """

    id: str
    corpus: str
    origin: str
    text: str


def documents_hash(documents: Sequence[Document]) -> str:
    """Return the identity of a set of documents, in this order."""
    return content_id([[document.corpus, document.id] for document in documents])
