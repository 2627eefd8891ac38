"""Passkey retrieval: a number of five digits in noise (arXiv 2305.16300, section 4.2).

A test that most models pass (paper, footnote 4): a failure says that something is broken, a success says
little. The wording is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from longspan.evaluate.haystack import Frame, fill
from longspan.evaluate.probes.noise import noise
from longspan.evaluate.probes.probe import Probe
from longspan.evaluate.probes.words import number
from longspan.evaluate.samples import ProbeSource, Sample

DIGITS = 5
MIN_LINE_TOKENS = 8

FRAME = Frame(
    "Somewhere in a long text of no importance there is a pass key. Find it and remember it.\n\n",
    "\n\nWhat is the pass key?",
    " The pass key is",
)


@dataclass(frozen=True)
class Passkey(Probe):
    """A question for a number that the text states once."""

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        rng = self.rng(source, length, index)
        value = number(rng, DIGITS)
        depth = source.depth(index)
        placed = fill(
            source.format,
            FRAME,
            noise(length // MIN_LINE_TOKENS),
            [(depth, f"Remember the pass key: it is {value}, and nothing else.")],
            budget,
            "\n",
        )
        return self.finished(
            source, (length, index), (placed, FRAME), [value], depth=depth, evidence=[0]
        )


TASKS: tuple[Passkey, ...] = (Passkey("passkey", 1, "retrieval", "contains_all", 16),)
