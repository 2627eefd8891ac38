"""Classification by many examples: passages with the source they are from, as integers that mean nothing.

Labels are random integers, so that only the examples tell what they stand for (as in HELMET's tasks of in-context
learning, arXiv 2410.02694). The classes are the user's own: sources, or documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Literal

from longspan.errors import UserError
from longspan.evaluate.haystack import Frame, fill, haystack_of
from longspan.evaluate.probes.fitting import enough
from longspan.evaluate.probes.probe import Probe
from longspan.evaluate.samples import ProbeSource, Sample

PASSAGE_CHARACTERS = 240
"""A passage is so many sentences in a row that it has at least as many characters."""
MAX_CLASSES = 8
MIN_PASSAGES = 4
"""A class with fewer passages is left out."""

_BEFORE = (
    "Each of the following texts is from one of several sources, and each source has a number. Find out from the "
    "examples which number a source has, and give that of the last text.\n\n"
)
ANSWER_PREFIX = "\nSource:"


@dataclass(frozen=True)
class Passage:
    """A few sentences of a document, and the document's id."""

    text: str
    document: str


@dataclass(frozen=True)
class ManyShotProbe(Probe):
    """Passages with labels fill the length; the last one's is asked for.

    Examples of all classes are equally frequent until a class has no more. The passage that is asked about is not
    among the examples, and its class is any of them with equal odds.
    """

    classes: Literal["corpus", "document"]

    def context_id(self, source: ProbeSource, index: int) -> str:
        """See `Task.context_id`."""
        # Its examples are in the same random order at all lengths, and in no other sample.
        return self.sample_id(source, 0, index)

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        classes = _classes(source, self.classes)
        if len(classes) < 2:
            raise UserError(
                f"corpora: passages of two classes (by {self.classes}) are needed, and there are {len(classes)}; "
                "leave the task out, or evaluate on more sources"
            )
        rng = source.rng(self.name, self.version, index)
        labels = rng.sample(range(10, 100), len(classes))
        right = rng.randrange(len(classes))
        asked = rng.choice(classes[right])
        examples = enough(_examples(classes, labels, asked, rng), budget)
        frame = Frame(_BEFORE, f"\n\nText: {asked.text}", ANSWER_PREFIX)
        placed = fill(source.format, frame, examples, (), budget, "\n\n")
        if any(f"{ANSWER_PREFIX} {label}\n" not in placed.text for label in labels):
            raise UserError(
                f"probes.lengths: {length:,} tokens have no room for an example of each of {len(classes)} classes; "
                "leave the length out, or the task"
            )
        return self.finished(
            source,
            (length, index),
            (placed, frame),
            [str(labels[right])],
            cluster=asked.document,
            stop=("\n",),
        )


def _examples(
    classes: Sequence[Sequence[Passage]], labels: Sequence[int], asked: Passage, rng: Random
) -> Iterator[str]:
    """Examples, one of each class in turn, in another order each turn."""
    decks = [[passage for passage in deck if passage.text != asked.text] for deck in classes]
    for deck in decks:
        rng.shuffle(deck)
    while any(decks):
        numbers = [number for number, deck in enumerate(decks) if deck]
        rng.shuffle(numbers)
        for number in numbers:
            yield f"Text: {decks[number].pop().text}{ANSWER_PREFIX} {labels[number]}"


@lru_cache(maxsize=4)
def _classes(
    source: ProbeSource, by: Literal["corpus", "document"]
) -> tuple[tuple[Passage, ...], ...]:
    """Passages of each class, the classes with the most passages first."""
    found: dict[str, dict[str, Passage]] = {}
    for document, passage in _passages(source):
        label = document if by == "document" else source.documents[int(document)].corpus
        found.setdefault(label, {}).setdefault(passage.text, passage)
    # A text that two classes have would have two labels.
    owners: dict[str, int] = {}
    for passages in found.values():
        for text in passages:
            owners[text] = owners.get(text, 0) + 1
    classes = [
        tuple(passage for text, passage in passages.items() if owners[text] == 1)
        for passages in found.values()
    ]
    classes = [passages for passages in classes if len(passages) >= MIN_PASSAGES]
    return tuple(sorted(classes, key=len, reverse=True)[:MAX_CLASSES])


def _passages(source: ProbeSource) -> Iterator[tuple[str, Passage]]:
    """Number of the document, and a passage, of all documents."""
    haystack = haystack_of(source)
    for number, document in enumerate(haystack.documents):
        taken: list[str] = []
        for sentence in haystack.sentences_of(number):
            taken.append(haystack.sentences[sentence])
            if sum(map(len, taken)) >= PASSAGE_CHARACTERS:
                yield str(number), Passage(" ".join(taken), document.id)
                taken = []


TASKS: tuple[ManyShotProbe, ...] = (
    ManyShotProbe("many_shot_sources", 1, "many_shot", "label", 8, "corpus"),
    ManyShotProbe("many_shot_documents", 1, "many_shot", "label", 8, "document"),
)
