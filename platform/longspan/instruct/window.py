"""Which part of a document an example shows: at most a window, and always the chunk that was asked about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from longspan.chat.tokenizer import Encoded


@dataclass(frozen=True)
class Span:
    """Some of a document's tokens: from `first`, up to but not `end`."""

    first: int
    end: int

    def __len__(self) -> int:
        """Number of tokens."""
        return self.end - self.first


def place(tokens: int, chunk: Span, room: int, share: float) -> Span:
    """The part of a document to show.

    Where it begins is drawn evenly from all places that keep the chunk, so that over many documents
    longer than the window chunks lie everywhere in it.

    Args:
        tokens: of the document.
        chunk: what must be in it; no longer than `room`.
        room: tokens that there is room for.
        share: the draw, in [0, 1).
    """
    assert len(chunk) <= room, f"a chunk of {len(chunk)} tokens in a room of {room}"
    if tokens <= room:
        return Span(0, tokens)
    lowest, highest = max(0, chunk.end - room), min(chunk.first, tokens - room)
    first = lowest + int(share * (highest - lowest + 1))
    return Span(first, first + room)


def fit(
    document: Encoded,
    chunk: Span,
    most: int,
    share: float,
    rendered: Callable[[int, int], int],
) -> Span | None:
    """The part of a document whose example has no more than `most` tokens; None if the chunk alone has more.

    Args:
        document: its tokens.
        chunk: what must be in it.
        most: tokens of the whole example.
        share: see `place`.
        rendered: the exact tokens of the example that shows these characters of the document.
    """

    def length(span: Span) -> int:
        return rendered(document.character(span.first), document.character(span.end))

    room = most - length(chunk) + len(chunk)
    if room < len(chunk):
        return None
    span = _on_cuts(document, place(len(document), chunk, room, share), chunk)
    # Joined with other text, a few tokens at the seams can come out as more.
    while (over := length(span) - most) > 0:
        if span == chunk:
            return None
        span = _on_cuts(document, _narrowed(span, chunk, over), chunk)
    return span


def _narrowed(span: Span, chunk: Span, by: int) -> Span:
    """Without `by` of its tokens, from both sides of the chunk by how much there is."""
    before, after = chunk.first - span.first, span.end - chunk.end
    by = min(by, before + after)
    left = min(before, max(by - after, round(by * before / max(1, before + after))))
    return Span(span.first + left, span.end - (by - left))


def _on_cuts(document: Encoded, span: Span, chunk: Span) -> Span:
    """The largest part of a span that begins and ends where the text can be cut."""
    first, end = span.first, span.end
    while first < chunk.first and not document.is_cut(first):
        first += 1
    while end > chunk.end and not document.is_cut(end):
        end -= 1
    return Span(first, end)
