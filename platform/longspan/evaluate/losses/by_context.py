"""Loss of the same target tokens by length of their context ("matched targets"; Sun et al., arXiv 2109.09115).

A block of consecutive targets at a random place of a document is scored several times, in rows that differ only in
how many of the document's tokens before it they begin with. Differences between lengths are paired by token, so that
they show the use of the context alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from longspan.evaluate.losses.documents import TokenizedDocument, TokenizedDocuments
from longspan.evaluate.losses.sums import LossSums, exact_sum
from longspan.evaluate.scoring.requests import LossRequest, Score, Span
from longspan.hashing import content_id


@dataclass(frozen=True)
class TargetChoice:
    """Choice of the targets.

    Attributes:
        targets: consecutive tokens of a block; the first of them has exactly the stated context, the others up to
            so many tokens more.
        blocks: of a document at most; they do not overlap.
        seed: of their places.
        shortest: tokens of the shortest context.
    """

    targets: int = 32
    blocks: int = 4
    seed: int = 0
    shortest: int = 16


@dataclass(frozen=True)
class TargetBlock:
    """A block of targets with its rows.

    Attributes:
        document: that it is in.
        rows: request by length of context, in the order of `context_lengths`.
        swapped: the longest row with the far half of its context from another document; None if there is no other.
    """

    document: TokenizedDocument
    rows: tuple[LossRequest, ...]
    swapped: LossRequest | None

    def requests(self) -> Iterator[LossRequest]:
        """All rows."""
        yield from self.rows
        if self.swapped is not None:
            yield self.swapped

    def within(self, window: int) -> TargetBlock:
        """Return the block without the rows that are longer than ``window`` tokens."""
        rows = tuple(row for row in self.rows if row.tokens <= window)
        return TargetBlock(self.document, rows, self.swapped if rows == self.rows else None)


def context_lengths(window: int, prefix: int, choice: TargetChoice) -> tuple[int, ...]:
    """Lengths of context in tokens, shortest first: those of rows of the window, half of it, a quarter, and so on.

    A row holds the prefix and the targets too, so that each fits a model of as short a window. Empty if even the
    shortest context does not fit.
    """
    lengths = []
    while (length := window - prefix - choice.targets) >= choice.shortest:
        lengths.append(length)
        window //= 2
    return tuple(reversed(lengths))


def target_blocks(
    documents: TokenizedDocuments, contexts: Sequence[int], choice: TargetChoice
) -> list[TargetBlock]:
    """Choose targets in every document that is long enough for the longest context; others have no block.

    A function of the document, the seed and the lengths: other documents only matter for what is swapped in.
    """
    if not contexts:
        return []
    needed = contexts[-1] + choice.targets
    eligible = [document for document in documents.documents if len(document) >= needed]
    return [
        _block(documents, document, start, contexts, choice, eligible)
        for document in eligible
        for start in _starts(document, contexts[-1], choice)
    ]


def context_sums(
    blocks: Sequence[TargetBlock], scores: Mapping[str, Score], contexts: Sequence[int]
) -> LossSums:
    """Sum losses of the same targets by document and length of context, [documents, contexts]."""
    return _sums(
        blocks, [[block.rows[n] for block in blocks] for n in range(len(contexts))], scores
    )


def swap_sums(
    blocks: Sequence[TargetBlock], scores: Mapping[str, Score]
) -> tuple[LossSums, LossSums]:
    """Sum losses with the far half of the longest context swapped, and with the document's own; [documents, 1]."""
    both = [block for block in blocks if block.swapped is not None]
    swapped = [block.swapped for block in both if block.swapped is not None]
    return _sums(both, [swapped], scores), _sums(both, [[b.rows[-1] for b in both]], scores)


def _sums(
    blocks: Sequence[TargetBlock],
    columns: Sequence[Sequence[LossRequest]],
    scores: Mapping[str, Score],
) -> LossSums:
    own = {block.document.document.id: block.document.document for block in blocks}
    place = {id: number for number, id in enumerate(own)}
    sums = np.zeros((len(own), len(columns)))
    counts = np.zeros((len(own), len(columns)), np.int64)
    for column, requests in enumerate(columns):
        losses: list[list[np.ndarray]] = [[] for _ in own]
        for block, request in zip(blocks, requests, strict=True):
            losses[place[block.document.document.id]].append(scores[request.id].losses)
        for number, of_document in enumerate(losses):
            together = np.concatenate(of_document)
            sums[number, column], counts[number, column] = exact_sum(together), len(together)
    corpora = tuple(document.corpus for document in own.values())
    return LossSums(tuple(own), corpora, sums, counts)


def _starts(document: TokenizedDocument, longest: int, choice: TargetChoice) -> Iterable[int]:
    """First tokens of a document's blocks: places of a grid that begins at random, without repetition."""
    rng = random.Random(content_id("targets", choice.seed, document.document.id))
    free = len(document) - longest
    offset = rng.randrange(free % choice.targets + 1)
    slots = range(longest + offset, len(document) - choice.targets + 1, choice.targets)
    return sorted(rng.sample(slots, min(choice.blocks, len(slots))))


def _block(
    documents: TokenizedDocuments,
    document: TokenizedDocument,
    start: int,
    contexts: Sequence[int],
    choice: TargetChoice,
    eligible: Sequence[TokenizedDocument],
) -> TargetBlock:
    end, prefix = start + choice.targets, len(documents.prefix)
    rows = tuple(
        LossRequest(documents.row(document.span(start - length, end)), prefix + length)
        for length in contexts
    )
    longest = contexts[-1]
    far = longest // 2
    other = _other_span(document, start, far, choice.seed, eligible)
    if other is None:
        return TargetBlock(document, rows, None)
    near = document.span(start - longest + far, end)
    return TargetBlock(document, rows, LossRequest(documents.row(other, near), prefix + longest))


def _other_span(
    document: TokenizedDocument,
    start: int,
    tokens: int,
    seed: int,
    eligible: Sequence[TokenizedDocument],
) -> Span | None:
    """Choose tokens of another document, of the same corpus if it has one."""
    others = [other for other in eligible if other.text != document.text]
    same = [other for other in others if other.document.corpus == document.document.corpus]
    if not (candidates := same or others):
        return None
    rng = random.Random(content_id("swap", seed, document.document.id, start))
    other = rng.choice(candidates)
    first = rng.randrange(len(other) - tokens + 1)
    return other.span(first, first + tokens)
