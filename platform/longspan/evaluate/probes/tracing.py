"""Variable tracking: RULER's vt (arXiv 2404.06654, section 3.2; definition of NVIDIA/RULER).

A chain of assignments is spread over noise: the first variable has a number, each further one the value of
the one before. Asked for are all variables with that number. One solved example stands before. The wording
is ours.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

from longspan.evaluate.haystack import Frame, fill, place
from longspan.evaluate.probes.noise import NOISE, noise
from longspan.evaluate.probes.probe import Probe
from longspan.evaluate.probes.words import distinct, letters, number
from longspan.evaluate.samples import ProbeSource, Sample

HOPS = 4
VALUE_DIGITS = 5
NAME_LETTERS = 5
EXAMPLE_NAME_LETTERS = 3
EXAMPLE_LINES = 5
MIN_LINE_TOKENS = 8


@dataclass(frozen=True)
class Chain:
    """Variables of one value.

    Attributes:
        value: the number.
        names: of the variables, in the order of the assignments.
    """

    value: str
    names: tuple[str, ...]

    @classmethod
    def drawn(cls, rng: random.Random, name_letters: int) -> Chain:
        """Return a chain with random names."""
        names = distinct(lambda: letters(rng, name_letters, string.ascii_uppercase), HOPS + 1)
        return cls(number(rng, VALUE_DIGITS), tuple(names))

    @property
    def lines(self) -> list[str]:
        """The assignments."""
        first, *others = self.names
        links = zip(others, self.names, strict=False)
        return [f"VAR {first} = {self.value}", *(f"VAR {new} = VAR {old}" for new, old in links)]

    def inserts(self, rng: random.Random) -> list[tuple[float, str]]:
        """The assignments in their order, with random depths."""
        depths = sorted(rng.random() for _ in self.lines)
        return list(zip(depths, self.lines, strict=True))

    @property
    def frame(self) -> Frame:
        """Instruction, question, and the beginning of the answer."""
        return Frame(
            "Follow the variable assignments in this text.\n\n",
            f"\nQuestion: Which variables of the text above have the value {self.value}?",
            f" Answer: In the text above, {len(self.names)} variables have the value {self.value}:",
        )


@dataclass(frozen=True)
class Tracking(Probe):
    """A question for all variables of one chain."""

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        rng = self.rng(source, length, index)
        example = Chain.drawn(rng, EXAMPLE_NAME_LETTERS)
        context = place(noise(EXAMPLE_LINES), example.inserts(rng), "\n").text
        shot = example.frame
        solved = " ".join([shot.answer_prefix, *example.names])
        chain = Chain.drawn(rng, NAME_LETTERS)
        frame = chain.frame
        frame = Frame(
            f"{shot.before}{context}{shot.after}{solved}\n\n{frame.before}",
            frame.after,
            frame.answer_prefix,
        )
        units = [NOISE] * (length // MIN_LINE_TOKENS)
        placed = fill(source.format, frame, units, chain.inserts(rng), budget, "\n")
        return self.finished(
            source,
            (length, index),
            (placed, frame),
            chain.names,
            evidence=range(len(chain.names)),
        )


TASKS: tuple[Tracking, ...] = (Tracking("ruler_vt", 1, "tracing", "contains_all", 30),)
