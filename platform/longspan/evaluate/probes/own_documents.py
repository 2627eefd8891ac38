"""Questions about the user's own held-out documents, at any length and depth, and without the document.

The pairs are self-instruct's. The chunk that a question is about stands at the depth; around it is its document,
as much of it as fits, and where the document ends, other held-out documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from longspan.evaluate.documents import Document
from longspan.evaluate.haystack import Frame, Placed
from longspan.evaluate.probes.fitting import (
    CHARACTERS_PER_TOKEN,
    fill_or_base,
    first_fitting,
    longest,
    turns,
)
from longspan.evaluate.probes.pairs import Pair, PairSet
from longspan.evaluate.probes.questions import QuestionProbe
from longspan.evaluate.samples import CLOSED_BOOK, ProbeSource, Sample

MAX_TOKENS = 128
MAX_PIECE_CHARACTERS = 300
SEPARATOR = "\n\n"
_BEFORE = "Read the following text.\n\n"
_AFTER = "\n\nAnswer a question about the text, {style}.\nQuestion: {question}"
_CLOSED_BOOK = "Answer a question, {style}.\nQuestion: {question}"
_STYLES = {"short": "in as few words as possible"}
_OTHER_STYLE = "in one to four sentences"
ANSWER_PREFIX = "\nAnswer:"
_PIECE = re.compile(
    rf".{{1,{MAX_PIECE_CHARACTERS}}}?(?:[.!?]\s+|\n+|\Z)|.{{1,{MAX_PIECE_CHARACTERS}}}", re.DOTALL
)


@dataclass(frozen=True)
class OwnDocumentProbe(QuestionProbe):
    """Pairs of one set, each once before any is asked again.

    A pair whose chunk does not fit into a length gives way to the next one that does, so that all other samples are
    about the same pairs at every length.

    Attributes:
        pairs: with their documents.
    """

    pairs: PairSet

    @property
    def questions_hash(self) -> str:
        """See `QuestionProbe.questions_hash`."""
        return self.pairs.hash

    def context_id(self, source: ProbeSource, index: int) -> str:
        """See `Task.context_id`: the pair's document, but at lengths that it gives way at."""
        return next(self._candidates(source, index)).document

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        candidates = self._candidates(source, index)
        if self.closed_book:
            pair = next(candidates)
            frame = Frame("", _asking(_CLOSED_BOOK, pair), ANSWER_PREFIX)
            placed, depth = fill_or_base(source.format, frame, (), (), None), None
        else:
            pair = first_fitting(
                source.format, candidates, self._bare_prompt, budget, ANSWER_PREFIX
            )
            frame = Frame(_BEFORE, _asking(_AFTER, pair), ANSWER_PREFIX)
            depth = source.depth(index)
            placed = self._filled(source, pair, (index, depth, budget), frame)
        return self.finished(
            source,
            (length, index),
            (placed, frame),
            [pair.answer],
            depth=depth,
            evidence=range(len(placed.spans)),
            cluster=pair.document,
            stop=(SEPARATOR, "\nQuestion:"),
        )

    def _candidates(self, source: ProbeSource, index: int) -> Iterator[Pair]:
        """Yield pairs in the order in which they are preferred, the same at all lengths."""
        pairs = self.pairs.pairs
        for at in turns(source, self.questions_hash, len(pairs), index):
            yield pairs[at]

    def _bare_prompt(self, pair: Pair) -> str:
        """The prompt with no text around the chunk."""
        chunk = self.pairs.documents[pair.document].text[slice(*pair.chunk)]
        return f"{_BEFORE}{chunk}{_asking(_AFTER, pair)}"

    def _filled(
        self, source: ProbeSource, pair: Pair, place_of: tuple[int, float, int], frame: Frame
    ) -> Placed:
        """The prompt with as much text around the chunk as fits."""
        index, depth, budget = place_of
        document = self.pairs.documents[pair.document]
        others = [each for each in source.documents if each.text != document.text]
        source.rng(self.name, self.version, index).shuffle(others)
        start, end = pair.chunk
        chunk = document.text[start:end]
        # Either side takes the next document when it needs one.
        queue = iter(others)
        before = _backwards(document.text[:start], queue)
        after = _forwards(document.text[end:], queue)
        taken = list(_around(before, after, depth, budget))

        def build(count: int) -> Placed:
            left = "".join(piece for side, piece in reversed(taken[:count]) if side == "before")
            right = "".join(piece for side, piece in taken[:count] if side == "after")
            at = len(frame.before) + len(left)
            text = f"{frame.before}{left}{chunk}{right}{frame.after}"
            return Placed(text, ((at, at + len(chunk)),))

        pieces = [piece for _, piece in taken]
        return longest(source.format, build, pieces, budget, frame.answer_prefix)


def _asking(template: str, pair: Pair) -> str:
    style = _STYLES.get(pair.style, _OTHER_STYLE)
    return template.format(style=style, question=pair.question)


def split_pieces(text: str) -> list[str]:
    """Split a text after sentences and lines, white space kept; pieces have at most `MAX_PIECE_CHARACTERS` or so."""
    return _PIECE.findall(text)


def _forwards(text: str, others: Iterator[Document]) -> Iterator[str]:
    """Pieces of a text, then of other documents."""
    yield from split_pieces(text)
    for other in others:
        yield SEPARATOR
        yield from split_pieces(other.text)


def _backwards(text: str, others: Iterator[Document]) -> Iterator[str]:
    """Pieces of a text from its end on, then of other documents from theirs."""
    yield from reversed(split_pieces(text))
    for other in others:
        yield SEPARATOR
        yield from reversed(split_pieces(other.text))


def _around(
    before: Iterator[str], after: Iterator[str], depth: float, tokens: int
) -> Iterator[tuple[str, str]]:
    """Yield pieces of both sides, so that at any time the share of their characters before the chunk is the depth.

    They end, with more than so many tokens, or where a side has no more.
    """
    characters = {"before": 0, "after": 0}
    while (total := sum(characters.values())) <= CHARACTERS_PER_TOKEN * tokens:
        side = "before" if characters["before"] < depth * (total + 1) else "after"
        piece = next(before if side == "before" else after, None)
        if piece is None:
            return
        characters[side] += len(piece)
        yield side, piece


def make_tasks(pairs: PairSet) -> tuple[OwnDocumentProbe, ...]:
    """Return the tasks of a set: `own_documents` and `own_documents_closed_book`."""
    return tuple(
        OwnDocumentProbe(
            f"own_documents{CLOSED_BOOK if closed_book else ''}",
            *(1, "own_documents", "f1", MAX_TOKENS),
            pairs=pairs,
            closed_book=closed_book,
        )
        for closed_book in (False, True)
    )
