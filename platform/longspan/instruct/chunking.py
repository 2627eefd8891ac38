"""A document into chunks: exact in tokens, on the borders of paragraphs where possible."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from longspan.chat.tokenizer import Encoded

BORDERS = (
    re.compile(r"(\n[^\S\n]*\n\s*)"),  # paragraphs
    re.compile(r"(\n)"),  # lines
    re.compile(r"[.!?][\"'\u201d\u2019)\]]*(\s+)|[\u3002\uff01\uff1f](\s*)"),  # sentences
    re.compile(r"(\s+)"),  # words
)
"""What a chunk may end with, the best kind first; the group is the blanks that may go to the next chunk."""


@dataclass(frozen=True)
class Chunk:
    """A part of a document.

    Attributes:
        start: its first character.
        end: the character after its last.
        first_token: the document's token that it begins with.
        end_token: the document's token that the next chunk begins with.
    """

    start: int
    end: int
    first_token: int
    end_token: int


def cut(text: str, encode: Callable[[str], Encoded], most: int) -> list[Chunk]:
    """Chunks that together are the document, none of more than `most` tokens.

    They are of about equal length: a rest of a few words would be no use to ask about. Each is
    encoded by itself as well, since a text's parts can have more tokens than the text has there.

    Args:
        text: the document, which has a token at least.
        encode: the tokenizer.
        most: tokens of a chunk, as it stands alone.
    """
    document = encode(text)
    borders = [_after(document, kind, text) for kind in BORDERS]
    chunks: list[Chunk] = []
    first = 0
    while first < len(document):
        limit = most
        while True:
            end = _end(document, borders, first, limit)
            start, stop = document.character(first), document.character(end)
            over = len(encode(text[start:stop])) - most
            if over <= 0 or end - first <= 1:
                break
            limit = max(1, end - first - over)
        chunks.append(Chunk(start, stop, first, end))
        first = end
    return chunks


def _after(document: Encoded, kind: re.Pattern[str], text: str) -> np.ndarray:
    """Tokens that begin the text after a border, sorted, int64.

    Many tokenizers put a blank with the word after it: such a token begins inside the border.
    """
    blanks = [found.span(found.lastindex or 0) for found in kind.finditer(text)]
    first, end = np.array(blanks, np.int64).reshape(-1, 2).T
    tokens = np.searchsorted(document.starts, end, "right") - 1
    begins = document.starts[tokens] >= first
    return np.unique(tokens[begins])


def _end(document: Encoded, borders: list[np.ndarray], first: int, most: int) -> int:
    """The token before which a chunk that begins with `first` best ends."""
    rest = len(document) - first
    chunks = math.ceil(rest / most)
    if chunks == 1:
        return len(document)
    ideal = math.ceil(rest / chunks)
    low, high = first + max(1, ideal // 2), first + most
    for places in borders:
        inside = places[np.searchsorted(places, low) : np.searchsorted(places, high, "right")]
        inside = [int(place) for place in inside if document.is_cut(int(place))]
        if inside:
            return min(inside, key=lambda place: abs(place - first - ideal))
    return _cut_at_most(document, first + ideal, first)


def _cut_at_most(document: Encoded, token: int, first: int) -> int:
    """The last token up to `token` that the text can be cut before, or else the next one."""
    for place in range(token, first, -1):
        if document.is_cut(place):
            return place
    return next(place for place in range(token, len(document) + 1) if document.is_cut(place))
