"""Haystacks: passages of held-out documents around the evidence of a sample, of an exact number of tokens."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import accumulate

from longspan.errors import UserError
from longspan.evaluate.documents import Document
from longspan.evaluate.samples import ProbeSource, PromptFormat

MAX_SENTENCE_CHARACTERS = 300
"""A longer run of text without the end of a sentence is split between words."""
GUESS_UNITS = 64
"""Units whose tokens are counted for a first guess at how many fit."""
GOOD_GUESSES = 4
"""Counts of a whole prompt after which its length is searched for by halving."""

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'\u2019\u201d)\]]*\s+|(?<=[\u3002\uff01\uff1f])|\n\s*\n")
_WORD = re.compile(r"\S+")


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences, white space within each of them collapsed.

    A sentence ends at a full stop, an exclamation or question mark, or a blank line; what is longer than
    `MAX_SENTENCE_CHARACTERS` is split between words, or anywhere in a word that is longer itself.
    """
    found: list[str] = []
    start = 0
    for end in [*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]:
        found.extend(_bounded(text[start:end].split()))
        start = end
    return found


def _bounded(words: Iterable[str]) -> list[str]:
    """Words joined to strings of at most `MAX_SENTENCE_CHARACTERS`."""
    parts: list[str] = []
    for word in words:
        for start in range(0, len(word), MAX_SENTENCE_CHARACTERS):
            piece = word[start : start + MAX_SENTENCE_CHARACTERS]
            if start == 0 and parts and len(parts[-1]) + len(piece) < MAX_SENTENCE_CHARACTERS:
                parts[-1] += f" {piece}"
            else:
                parts.append(piece)
    return parts


class Haystack:
    """The sentences of all documents, one document after another, as a ring.

    Attributes:
        documents: the documents.
        sentences: all their sentences.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = tuple(documents)
        by_document = [split_sentences(document.text) for document in documents]
        self.sentences = tuple(sentence for part in by_document for sentence in part)
        self._ends = list(accumulate(map(len, by_document)))

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.sentences)

    def passage(self, start: int) -> Sequence[str]:
        """Every sentence once, from one of them on; after the last sentence the first follows."""
        return self.sentences[start:] + self.sentences[:start]

    def document_of(self, sentence: int) -> int:
        """Number of the document that a sentence is of."""
        return bisect_right(self._ends, sentence)

    def sentences_of(self, document: int) -> range:
        """Numbers of the sentences of a document."""
        return range(self._ends[document - 1] if document else 0, self._ends[document])

    def contains(self, words: str) -> bool:
        """Whether some words occur anywhere in the documents, in upper or lower case."""
        return words.casefold() in self._folded

    def occurrences(self, words: str) -> int:
        """How often some words occur in the documents, in upper or lower case."""
        return self._folded.count(words.casefold())

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The words of the documents, sorted: letters only, four to twelve, in lower case somewhere."""
        found = {word for sentence in self.sentences for word in re.findall(r"[^\W\d_]+", sentence)}
        return tuple(sorted(word for word in found if 4 <= len(word) <= 12 and word.islower()))

    @cached_property
    def _folded(self) -> str:
        return " ".join(self.sentences).casefold()


def haystack_of(source: ProbeSource) -> Haystack:
    """Return the haystack of a source's documents."""
    return _kept_haystack(source.documents)


@lru_cache(maxsize=2)
def _kept_haystack(documents: tuple[Document, ...]) -> Haystack:
    """Splitting documents takes seconds: those of the last sources are kept."""
    return Haystack(documents)


@dataclass(frozen=True)
class Placed:
    """Texts with others between them.

    Attributes:
        text: all of it.
        spans: characters [from, to) of each inserted text, in the order in which they were given.
    """

    text: str
    spans: tuple[tuple[int, int], ...]

    def shifted(self, characters: int) -> tuple[tuple[int, int], ...]:
        """The spans in a text that has this one after so many characters."""
        return tuple((start + characters, end + characters) for start, end in self.spans)


def place(
    units: Sequence[str], inserts: Sequence[tuple[float, str]], separator: str = " "
) -> Placed:
    """Join units, with other texts between them at given depths.

    Args:
        units: sentences, or other pieces of text.
        inserts: texts with the share of the units' characters that stands before each, 0 to 1. Each is put
            at the nearest boundary of units; those at the same boundary keep their order.
        separator: between any two.
    """
    ends = [0, *accumulate(len(unit) + len(separator) for unit in units)]
    at: dict[int, list[int]] = {}
    for number, (depth, _) in enumerate(inserts):
        at.setdefault(_nearest(ends, depth * ends[-1]), []).append(number)
    pieces: list[str] = []
    spans = [(0, 0)] * len(inserts)
    position = 0

    def add(piece: str) -> None:
        nonlocal position
        pieces.append(piece)
        position += len(piece) + len(separator)

    for boundary in range(len(units) + 1):
        for number in at.get(boundary, ()):
            text = inserts[number][1]
            spans[number] = (position, position + len(text))
            add(text)
        if boundary < len(units):
            add(units[boundary])
    return Placed(separator.join(pieces), tuple(spans))


def _nearest(ends: Sequence[int], target: float) -> int:
    right = min(bisect_left(ends, target), len(ends) - 1)
    left = max(0, right - 1)
    return left if target - ends[left] < ends[right] - target else right


def most_units(
    tokens_with: Callable[[int], int],
    tokens_of: Callable[[int], float],
    budget: int,
    available: int,
    guess: int,
) -> int | None:
    """Return how many units fit into a budget of tokens; None if not even none does.

    The whole is counted a few times only: in between, the difference to the budget is made up of the
    units' own counts, which are nearly additive.

    Args:
        tokens_with: counts a whole prompt with so many units; rises with their number.
        tokens_of: counts one unit by itself, about.
        budget: tokens of the prompt, at most.
        available: number of units that there are.
        guess: number of units to begin with.

    Returns:
        The number of units: with the next one, the prompt would exceed the budget, or would if that unit
        has as many tokens as by itself.
    """
    fits, exceeds = -1, available + 1
    units = max(0, min(guess, available))
    attempts = 0
    while True:
        free: float = budget - tokens_with(units)
        if free >= 0:
            fits = units
            while units < exceeds - 1 and tokens_of(units) <= free:
                free -= tokens_of(units)
                units += 1
        else:
            exceeds = units
            while units > fits + 1 and free < 0:
                units -= 1
                free += tokens_of(units)
        if units == fits or exceeds - fits <= 1:
            return fits if fits >= 0 else None
        attempts += 1
        if attempts % GOOD_GUESSES == 0:  # The units' own counts are no help: halve what is left.
            units = (fits + exceeds) // 2


@dataclass(frozen=True)
class Frame:
    """The text of a prompt around its context.

    Attributes:
        before: the instruction; ends with its separator from the context.
        after: the question; begins with its separator from the context.
        answer_prefix: how the answer begins; begins with its separator from the question.
    """

    before: str
    after: str
    answer_prefix: str = ""


def fill(
    format: PromptFormat,
    frame: Frame,
    units: Sequence[str],
    inserts: Sequence[tuple[float, str]],
    budget: int,
    separator: str = " ",
) -> Placed:
    """Return a prompt's text with as many units as fit into a budget of tokens.

    Args:
        format: of the prompt; its own tokens count.
        frame: text around the context.
        units: pieces of the context, from the first on; more than are needed.
        inserts: texts to put between them, with their depths; see `place`.
        budget: tokens of the prompt, at most.
        separator: between units.

    Returns:
        The prompt's text, with the spans of the inserts in it. It has at most `budget` tokens, and
        lacks fewer than the next unit has.

    Raises:
        UserError: the budget is too small for the frame and the inserts, or the units are too few.
    """

    def placed(number: int) -> Placed:
        context = place(units[:number], inserts, separator)
        text = frame.before + context.text + frame.after
        return Placed(text, context.shifted(len(frame.before)))

    def tokens_with(number: int) -> int:
        return len(format.prompt_ids(placed(number).text, frame.answer_prefix))

    @cache
    def tokens_of(unit: str) -> int:
        return format.count(separator + unit)

    start = units[:GUESS_UNITS]
    per_unit = max(1.0, format.count(separator.join(start)) / max(1, len(start)))
    overhead = tokens_with(0)
    fitting = most_units(
        tokens_with,
        lambda unit: tokens_of(units[unit]),
        budget,
        len(units),
        int((budget - overhead) / per_unit),
    )
    if fitting is None:
        raise UserError(
            f"probes.lengths: a prompt of at most {budget:,} tokens is asked for, and this one has {overhead:,} "
            "without any context; leave the length out, or the task"
        )
    if fitting == len(units):
        raise UserError(
            f"corpora: {budget:,} tokens of context are asked for, and the held-out documents have about "
            f"{int(len(units) * per_unit):,}; raise max_documents or heldout_fraction, or leave the length out"
        )
    return placed(fitting)
