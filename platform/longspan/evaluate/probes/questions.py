"""Probes of given questions, with the text that answers them or, as a control, without any."""

from __future__ import annotations

from dataclasses import dataclass, field

from longspan.evaluate.probes.fitting import BASE, only_at_base
from longspan.evaluate.probes.probe import Probe
from longspan.evaluate.samples import CLOSED_BOOK, ProbeSource
from longspan.hashing import content_id


@dataclass(frozen=True)
class QuestionProbe(Probe):
    """Questions whose text and answers come from elsewhere, so that samples depend on these too.

    Attributes:
        closed_book: ask without any text, at length 0.
    """

    closed_book: bool = field(default=False, kw_only=True)

    @property
    def questions_hash(self) -> str:
        """Identity of the questions and their texts."""
        raise NotImplementedError

    def sample_id(self, source: ProbeSource, length: int, index: int) -> str:
        """See `Task.sample_id`."""
        return content_id(super().sample_id(source, length, index), self.questions_hash)

    def problem(self, source: ProbeSource, length: int) -> str | None:
        """See `Task.problem`."""
        if self.closed_book:
            return only_at_base(self.name, length)
        if length == BASE:
            return (
                f"{self.name} is asked with text around; without any, {self.name}{CLOSED_BOOK} is"
            )
        return super().problem(source, length)
