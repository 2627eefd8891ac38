"""A probe: a task that fills a frame with a context of an exact number of tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from longspan.errors import UserError
from longspan.evaluate.haystack import Frame, Placed
from longspan.evaluate.samples import Family, ProbeSource, Sample, Scoring

MARGIN_SHARE = 1 / 16
"""Share of a length by which the prompts of one task differ at most without their context."""
SHORT = 16_384
"""Below this length, the prompts of some tasks may exceed it without any context."""


@dataclass(frozen=True)
class Probe:
    """A task, but for what its prompts say; see `Task`.

    Attributes:
        name: unique name.
        version: of its prompts and its scoring.
        family: what it measures.
        scoring: how replies are scored.
        max_tokens: most tokens of an answer.
    """

    name: str
    version: int
    family: Family
    scoring: Scoring
    max_tokens: int

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """Return a sample whose prompt has at most `budget` tokens, and as many of them as possible.

        Raises:
            UserError: there can be none; see `problem`.
        """
        raise NotImplementedError

    def sample_id(self, source: ProbeSource, length: int, index: int) -> str:
        """See `Task.sample_id`."""
        return source.sample_id(self.name, self.version, length, index)

    def context_id(self, source: ProbeSource, index: int) -> str:
        """See `Task.context_id`."""
        return ""

    def sample(self, source: ProbeSource, length: int, index: int) -> Sample:
        """Return a sample; see `Task.sample`.

        Raises:
            UserError: there can be none of this length; see `problem`.
        """
        return self.build(source, length, index, length - self.max_tokens)

    def problem(self, source: ProbeSource, length: int) -> str | None:
        """Return why there can be no sample of this length; None if there can.

        The first sample is made, and for short lengths once more with fewer tokens, since other samples may
        need more of them.
        """
        budget = length - self.max_tokens
        try:
            self.build(source, length, 0, budget)
            if length < SHORT:
                self.build(source, length, 0, budget - int(length * MARGIN_SHARE))
        except UserError as error:
            return f"{self.name} at {length:,} tokens: {error}"
        return None

    def rng(self, source: ProbeSource, length: int, index: int) -> random.Random:
        """Return the generator of all random choices of one sample."""
        return source.rng(self.name, self.version, length, index)

    def finished(
        self,
        source: ProbeSource,
        place: tuple[int, int],
        prompt: tuple[Placed, Frame],
        references: Sequence[str],
        *,
        depth: float | None = None,
        evidence: Sequence[int] = (),
        cluster: str = "",
        stop: tuple[str, ...] = (),
    ) -> Sample:
        """Return the sample that a prompt makes.

        Args:
            source: what it is made from.
            place: its length and its index.
            prompt: its text, and the frame that was filled.
            references: right answers.
            depth: of its evidence, if that is in one place.
            evidence: numbers of the inserted texts that hold the answer.
            cluster: what its result depends on besides chance. "": nothing; it is independent of all others.
            stop: strings that end the answer.
        """
        length, index = place
        placed, frame = prompt
        id = self.sample_id(source, length, index)
        return Sample(
            id=id,
            task=self.name,
            length=length,
            index=index,
            depth=depth,
            text=placed.text,
            answer_prefix=frame.answer_prefix,
            references=tuple(references),
            scoring=self.scoring,
            max_tokens=self.max_tokens,
            stop=stop,
            cluster=cluster or id,
            evidence=tuple(placed.spans[number] for number in evidence),
        )
