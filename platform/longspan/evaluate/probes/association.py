"""Associative needles: sentences that answer a question with which they share no content word.

The idea is NoLiMa's (arXiv 2502.05167): what connects needle and question is common knowledge, so that matching
words finds nothing. The pairs are our own. Needles of other pairs, about other people, stand in the same prompt, so
that it is not enough to find the sentence that does not fit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from random import Random
from typing import Any

from longspan.config.yaml_text import load_yaml
from longspan.evaluate.haystack import Frame
from longspan.evaluate.probes.fitting import BASE, STOP, document_at, fill_or_base, prose, turn
from longspan.evaluate.probes.probe import Probe
from longspan.evaluate.samples import ProbeSource, Sample

NAMES = (
    *("Amara", "Bodil", "Caspar", "Dario", "Elodie", "Farid", "Gunnar", "Hester", "Ilse", "Kavya"),
    *("Leif", "Milena", "Nadia", "Oskar", "Priya", "Quentin", "Rosalba", "Sanjay", "Tamsin"),
    *("Ulrich", "Veronika", "Wanda", "Yolanda", "Zoltan"),
)
FUNCTION_WORDS = frozenset(
    [
        *("a", "above", "all", "an", "and", "are", "as", "at", "away", "be", "been"),
        *("before", "behind", "best", "by", "can", "did", "does", "for", "from", "front"),
        *("goes", "has", "he", "her", "his", "i", "in", "into", "is", "it", "its", "last"),
        *("likes", "never", "no", "not", "of", "off", "on", "one", "only", "or", "other"),
        *("out", "person", "she", "some", "still", "than", "that", "the", "their", "them"),
        *("then", "there", "they", "this", "three", "to", "two", "under", "until", "up"),
        *("was", "what", "when", "where", "which", "who", "with", "works"),
    ]
)
"""Words that connect nothing: a needle and a question may both have them."""

_BEFORE = (
    "Somewhere in the following text, a few people are mentioned by name. Read it carefully.\n\n"
)
_AFTER = "\n\nQuestion: {question} Answer with the name of that person only."
ANSWER_PREFIX = "\nAnswer:"


@dataclass(frozen=True)
class Association:
    """A sentence about a person, and a question that it answers.

    Attributes:
        asks: the fact that the question is about.
        needle: the sentence, with the place `{name}`.
        question: for the name.
        implies: further facts that the sentence implies.
    """

    asks: str
    needle: str
    question: str
    implies: tuple[str, ...] = ()

    def answers(self, other: Association) -> bool:
        """Whether this needle answers the question of another pair, too."""
        return other.asks in (self.asks, *self.implies)


@lru_cache(maxsize=1)
def associations() -> tuple[Association, ...]:
    """Return all pairs."""
    text = (
        files("longspan.evaluate.probes").joinpath("associations.yaml").read_text(encoding="utf-8")
    )
    rows: list[dict[str, Any]] = load_yaml(text)
    return tuple(
        Association(row["asks"], row["needle"], row["question"], tuple(row.get("implies", ())))
        for row in rows
    )


def content_words(text: str) -> frozenset[str]:
    """Words of a text that carry its meaning, in lower case."""
    words = re.findall(r"[^\W\d_]+", text.replace("{name}", "").lower())
    return frozenset(word for word in words if len(word) > 1) - FUNCTION_WORDS


@dataclass(frozen=True)
class _Chosen:
    """Random choices of a sample, the same at all lengths.

    Attributes:
        pair: that is asked about.
        names: of the people; the first one is the answer.
        inserts: needles with their depths.
        place: where the text begins, as a share of all sentences.
    """

    pair: Association
    names: tuple[str, ...]
    inserts: tuple[tuple[float, str], ...]
    place: float


@dataclass(frozen=True)
class AssociationProbe(Probe):
    """A needle at a depth, others anywhere, and the question that only the first one answers.

    Length 0 is the base score: the needles without any other text.

    Attributes:
        distractors: needles that do not answer the question.
    """

    distractors: int = 3

    def context_id(self, source: ProbeSource, index: int) -> str:
        """See `Task.context_id`."""
        return document_at(source, self._chosen(source, index).place)

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        chosen = self._chosen(source, index)
        question, names = chosen.pair.question, chosen.names
        text = prose(source, length, chosen.place, {*names, *content_words(question)})
        frame = Frame(_BEFORE, _AFTER.format(question=question), ANSWER_PREFIX)
        placed = fill_or_base(
            source.format, frame, text.sentences, chosen.inserts, None if length == BASE else budget
        )
        return self.finished(
            source,
            (length, index),
            (placed, frame),
            [names[0]],
            depth=source.depth(index) if length != BASE else None,
            evidence=[0],
            cluster=text.document,
            stop=STOP,
        )

    def _chosen(self, source: ProbeSource, index: int) -> _Chosen:
        rng = source.rng(self.name, self.version, index)
        pairs = associations()
        pair = pairs[turn(source, self.name, len(pairs), index)]
        names = rng.sample(NAMES, 1 + self.distractors)
        inserts = [(source.depth(index), pair.needle.format(name=names[0]))]
        others = _others(pair, self.distractors, rng)
        for name, other in zip(names[1:], others, strict=True):
            inserts.append((rng.random(), other.needle.format(name=name)))
        return _Chosen(pair, tuple(names), tuple(inserts), rng.random())


def _others(pair: Association, count: int, rng: Random) -> list[Association]:
    """Pairs whose needles do not answer the question of one."""
    return rng.sample([other for other in associations() if not other.answers(pair)], count)


TASKS: tuple[AssociationProbe, ...] = (
    AssociationProbe("association", 1, "association", "contains_any", 32),
)
