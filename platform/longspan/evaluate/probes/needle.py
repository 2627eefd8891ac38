"""Needles in a haystack: RULER's eight variants (arXiv 2404.06654, section 3.1; definitions of NVIDIA/RULER).

A needle gives a value for a key. The variants differ in what surrounds the needles (noise, prose, or other
needles), in the kinds of keys and values, and in how many of each there are. The wording is ours.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from longspan.evaluate.haystack import Frame, Haystack, fill, haystack_of
from longspan.evaluate.probes.noise import noise
from longspan.evaluate.probes.probe import Probe
from longspan.evaluate.probes.words import distinct, identifier, keyword, number
from longspan.evaluate.samples import ProbeSource, Sample

Kind = Literal["words", "numbers", "uuids"]

NUMBER_DIGITS = 7
DEPTHS = 40
"""Places of needles that are put anywhere: RULER's number of depths."""
MIN_NEEDLE_TOKENS = 4


@dataclass(frozen=True)
class Needle(Probe):
    """A question for the values of keys.

    Attributes:
        haystack: text around the needles.
        keys: kind of keys.
        values: kind of values.
        num_keys: different keys.
        num_values: values of each key.
        num_queries: keys that are asked for; the answer is all their values.
    """

    haystack: Literal["noise", "prose", "needles"] = "prose"
    keys: Kind = "words"
    values: Kind = "numbers"
    num_keys: int = 1
    num_values: int = 1
    num_queries: int = 1

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        rng = self.rng(source, length, index)
        hay = haystack_of(source)
        keys = distinct(lambda: _drawn(rng, self.keys), self.num_keys, hay.contains)
        count = self.num_keys * self.num_values
        values = distinct(lambda: _drawn(rng, self.values), count, hay.contains)
        asked = keys[: self.num_queries]
        pairs = [(key, values[number]) for number, key in enumerate(keys * self.num_values)]
        # One value asked for has one place; several are anywhere.
        depth = source.depth(index) if self._answers == 1 else None
        depths = [place / (DEPTHS - 1) for place in rng.sample(range(DEPTHS), len(pairs))]
        if depth is not None:
            depths[0] = depth
        needles = [self._needle(key, value) for key, value in pairs]
        frame = self._frame(asked)
        units = self._units(hay, rng, length, frozenset(keys))
        placed = fill(
            source.format,
            frame,
            units,
            list(zip(depths, needles, strict=True)),
            budget,
            " " if self.haystack == "prose" else "\n",
        )
        evidence = [number for number, (key, _) in enumerate(pairs) if key in asked]
        return self.finished(
            source,
            (length, index),
            (placed, frame),
            [pairs[number][1] for number in evidence],
            depth=depth,
            evidence=evidence,
        )

    @property
    def _answers(self) -> int:
        return self.num_queries * self.num_values

    def _needle(self, key: str, value: str) -> str:
        return f"One special {self.values[:-1]} for {key} is {value}."

    def _units(
        self, hay: Haystack, rng: random.Random, length: int, taken: frozenset[str]
    ) -> Sequence[str]:
        if self.haystack == "prose":
            return hay.passage(rng.randrange(len(hay)))
        most = length // MIN_NEEDLE_TOKENS
        if self.haystack == "noise":
            return noise(most)
        # Distractors may repeat each other's keys in a long context, but never one of the sample's.
        keys = (key for key in iter(lambda: _drawn(rng, self.keys), None) if key not in taken)
        return [self._needle(next(keys), _drawn(rng, self.values)) for _ in range(most)]

    def _frame(self, asked: Sequence[str]) -> Frame:
        noun = self.values[:-1]
        if self._answers == 1:
            return Frame(
                f"The following text gives a special {noun}. Remember it: I will ask you for the {noun} after the "
                "text.\n",
                f"\nWhich special {noun} for {asked[0]} does the text give?",
                f" The special {noun} for {asked[0]} that the text gives is",
            )
        names = ", ".join(asked[:-1]) + ", and " + asked[-1] if len(asked) > 1 else asked[0]
        return Frame(
            f"The following text gives several special {noun}s. Remember them: I will ask you for the {noun}s after "
            "the text.\n",
            f"\nWhich are all the special {noun}s for {names} that the text gives?",
            f" All the special {noun}s for {names} that the text gives are",
        )


def _drawn(rng: random.Random, kind: Kind) -> str:
    if kind == "words":
        return keyword(rng)
    return identifier(rng) if kind == "uuids" else number(rng, NUMBER_DIGITS)


def _needle(name: str, **variant: object) -> Needle:
    return Needle(f"ruler_niah_{name}", 1, "retrieval", "contains_all", 128, **variant)  # pyrefly: ignore


TASKS: tuple[Needle, ...] = (
    _needle("single_1", haystack="noise"),
    _needle("single_2"),
    _needle("single_3", values="uuids"),
    _needle("multikey_1", num_keys=4),
    _needle("multikey_2", haystack="needles"),
    _needle("multikey_3", haystack="needles", keys="uuids", values="uuids"),
    _needle("multivalue", num_values=4),
    _needle("multiquery", num_keys=4, num_queries=4),
)
