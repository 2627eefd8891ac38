"""Counting words: RULER's cwe and fwe (arXiv 2404.06654, section 3.3; definitions of NVIDIA/RULER).

cwe is a numbered list of words, ten of which occur more often than the others; one solved example stands
before. fwe is a text of coded words whose frequencies follow a zeta distribution. The wording is ours.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from longspan.errors import UserError
from longspan.evaluate.haystack import Frame, Placed, haystack_of, most_units
from longspan.evaluate.probes.probe import Probe
from longspan.evaluate.probes.words import counting_words, distinct, letters
from longspan.evaluate.samples import ProbeSource, Sample

COMMON = 10
SHORT = 4096
"""Below this length, words are repeated less often."""
MIN_ENTRY_TOKENS = 3

CODED_LETTERS = 6
ALPHA = 2.0
ZETA = math.pi**2 / 6
"""Riemann's zeta function at `ALPHA`."""
TOKENS_PER_CODED_WORD = 50
"""Length, in tokens, for each word of the vocabulary."""
TOP = 3
DOTS = "..."
"""The most frequent word: noise, not asked for."""


@dataclass(frozen=True)
class Repeats:
    """How often words occur in a list.

    Attributes:
        common: occurrences of each of the `COMMON` words.
        others: occurrences of every other word.
    """

    common: int
    others: int

    def numbered(self, words: Sequence[str], rng: random.Random) -> str:
        """Return words, the first of which are the common ones, as a numbered list in random order."""
        entries = list(words[:COMMON]) * self.common + list(words[COMMON:]) * self.others
        rng.shuffle(entries)
        return " ".join(f"{number}. {word}" for number, word in enumerate(entries, 1))


LIST = Frame(
    "Here is a numbered list of words, some of which occur more often than others. Remember those that occur most "
    "often.\n",
    f"\nQuestion: Which {COMMON} words occur most often in the list above?",
    f" Answer: The {COMMON} words that occur most often in the list are:",
)


CODED = Frame(
    "The following text is in code. Count how often each coded word occurs, and find the three that occur most "
    "often. ",
    f"\nQuestion: Which three words occur most often in the coded text above? Leave the dots '{DOTS}' out, and "
    "explain nothing.",
    " Answer: The three words that occur most often in the coded text above are:",
)


@dataclass(frozen=True)
class CommonWords(Probe):
    """A question for the ten words that occur most often in a list."""

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        rng = self.rng(source, length, index)
        short = length < SHORT
        repeats, shown = (
            (Repeats(6, 1), Repeats(3, 1)) if short else (Repeats(30, 3), Repeats(10, 3))
        )
        num_shown = 20 if short else 40
        most = num_shown + COMMON + length // (MIN_ENTRY_TOKENS * repeats.others)
        words = counting_words(haystack_of(source).vocabulary, most, rng)
        example, words = words[:num_shown], _common_first(words[num_shown:])
        answer = " ".join(f"{number}. {word}" for number, word in enumerate(example[:COMMON], 1))
        before = (
            f"{LIST.before}{shown.numbered(example, rng)}{LIST.after}{LIST.answer_prefix} {answer}\n"
            + LIST.before
        )
        order = rng.getrandbits(64)

        def text(count: int) -> str:
            numbered = repeats.numbered(words[: COMMON + count], random.Random(order))
            return before + numbered + LIST.after

        format = source.format
        entries = len(words) * repeats.others
        count = most_units(
            lambda count: len(format.prompt_ids(text(count), LIST.answer_prefix)),
            lambda unit: format.count(f" {entries // 2}. {words[COMMON + unit]}") * repeats.others,
            budget,
            len(words) - COMMON,
            budget // (6 * repeats.others),
        )
        if not count:
            raise UserError(
                f"probes.lengths: {length:,} tokens have no place for words that occur less often than the common ones"
            )
        if count == len(words) - COMMON:
            raise UserError(
                f"probes.lengths: {length:,} tokens need more than {len(words):,} words"
            )
        prompt = (Placed(text(count), ()), LIST)
        return self.finished(source, (length, index), prompt, words[:COMMON])


def _common_first(words: list[str]) -> list[str]:
    """Move words to the front that are part of no other word: naming another must not count as naming them."""
    everything = "\n".join(words)
    common = []
    for word in words:
        if everything.count(word) == 1:
            common.append(word)
            if len(common) == COMMON:
                break
    return [*common, *(word for word in words if word not in common)]


@dataclass(frozen=True)
class FrequentWords(Probe):
    """A question for the three words that occur most often in a coded text, but for dots."""

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        rng = self.rng(source, length, index)
        size = max(TOP + 2, length // TOKENS_PER_CODED_WORD)
        words = [DOTS, *distinct(lambda: letters(rng, CODED_LETTERS), size - 1)]
        order = rng.getrandbits(64)

        def text(total: int) -> str:
            return CODED.before + " ".join(_coded(words, total, order)) + CODED.after

        format = source.format
        sizes = [format.count(f" {word}") for word in words]

        def estimated(total: int) -> int:
            counts = frequencies(len(words), total)
            return sum(count * size for count, size in zip(counts, sizes, strict=True))

        overhead = format.count(text(0))
        total = most_units(
            lambda total: len(format.prompt_ids(text(total), CODED.answer_prefix)),
            lambda unit: estimated(unit + 1) - estimated(unit),
            budget,
            2 * length,
            bisect_left(range(2 * length), budget - overhead, key=estimated),
        )
        counts = frequencies(len(words), total or 0)
        if counts[TOP] <= counts[TOP + 1]:
            raise UserError(
                f"probes.lengths: in {length:,} tokens no three words are more frequent than all others"
            )
        prompt = (Placed(text(total or 0), ()), CODED)
        return self.finished(source, (length, index), prompt, words[1 : TOP + 1])


def frequencies(vocabulary: int, total: int) -> list[int]:
    """Return how often each word of a coded text of about `total` words occurs, the most frequent first.

    The share of the word of rank k is k^-alpha / zeta(alpha), with alpha = 2.
    """
    return [int(total * rank**-ALPHA / ZETA) for rank in range(1, vocabulary + 1)]


def _coded(words: Sequence[str], total: int, order: int) -> list[str]:
    counts = zip(words, frequencies(len(words), total), strict=True)
    text = [word for word, count in counts for _ in range(count)]
    random.Random(order).shuffle(text)
    return text


TASKS: tuple[Probe, ...] = (
    CommonWords("ruler_cwe", 1, "aggregation", "contains_all", 120),
    FrequentWords("ruler_fwe", 1, "aggregation", "contains_all", 50),
)
