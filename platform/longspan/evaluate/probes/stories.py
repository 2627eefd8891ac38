"""Stories: facts about a small world, spread in order through prose, and a question that needs several of them.

The arrangement and the scoring are BABILong's (arXiv 2406.10149): facts keep their order, an answer is right if it
names the right label and no other. The stories are our own (`world`). Length 0 is the story without any prose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from longspan.evaluate.haystack import Frame
from longspan.evaluate.probes import world
from longspan.evaluate.probes.fitting import BASE, STOP, document_at, fill_or_base, prose
from longspan.evaluate.probes.probe import Probe
from longspan.evaluate.probes.world import Asks, Story
from longspan.evaluate.samples import ProbeSource, Sample

_BEFORE = (
    "Facts about a few people are hidden in the text below, in the order in which they happened. Answer the question "
    "at its end by these facts. Example:\n{example}\n\nText:\n"
)
_AFTER = "\n\nQuestion: {question} Answer with one of: {labels}."
ANSWER_PREFIX = "\nAnswer:"
_EXAMPLE_SEED = 7


@dataclass(frozen=True)
class StoryProbe(Probe):
    """One kind of question about stories; the first fact that its answer needs stands at the depth.

    Attributes:
        asks: makes the question.
        facts: fewest and most facts of a story.
    """

    asks: Asks
    facts: tuple[int, int]

    def context_id(self, source: ProbeSource, index: int) -> str:
        """See `Task.context_id`."""
        return document_at(source, self._chosen(source, index)[2])

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        story, inserts, start = self._chosen(source, index)
        asked, depth = story.question, source.depth(index)
        text = prose(source, length, start, world.PEOPLE)
        frame = Frame(_BEFORE.format(example=self._example()), _question(story), ANSWER_PREFIX)
        placed = fill_or_base(
            source.format, frame, text.sentences, inserts, None if length == BASE else budget
        )
        return self.finished(
            source,
            (length, index),
            (placed, frame),
            [asked.answer, *(label for label in asked.labels if label != asked.answer)],
            depth=depth if length != BASE else None,
            evidence=asked.support,
            cluster=text.document,
            stop=STOP,
        )

    def _chosen(
        self, source: ProbeSource, index: int
    ) -> tuple[Story, list[tuple[float, str]], float]:
        """Return the story, its facts with their depths, and where the prose begins, the same at all lengths."""
        rng = source.rng(self.name, self.version, index)
        story = world.tell(rng, self.asks, *self.facts)
        first = story.question.support[0]
        depths = depths_in_order(len(story.facts), first, source.depth(index), rng)
        return story, list(zip(depths, story.facts, strict=True)), rng.random()

    def _example(self) -> str:
        """A short story with its answer, the same in all prompts."""
        rng = Random(_EXAMPLE_SEED)
        story = world.tell(rng, self.asks, 4, self.facts[1], world.OTHER_PEOPLE)
        answer = f"{ANSWER_PREFIX} {story.question.answer}"
        return f"{' '.join(story.facts)}{_question(story)}{answer}"


def depths_in_order(count: int, first: int, depth: float, rng: Random) -> Sequence[float]:
    """Return rising depths of texts, of which number `first` has a given one; the others are drawn evenly."""
    before = sorted(depth * rng.random() for _ in range(first))
    after = sorted(depth + (1 - depth) * rng.random() for _ in range(count - first - 1))
    return [*before, depth, *after]


def _question(story: Story) -> str:
    labels = ", ".join(story.question.labels)
    return _AFTER.format(question=story.question.text, labels=labels)


def _probe(name: str, asks: Asks, facts: tuple[int, int]) -> StoryProbe:
    return StoryProbe(f"story_{name}", 1, "reasoning", "one_of_labels", 24, asks, facts)


TASKS: tuple[StoryProbe, ...] = (
    _probe("one_fact", world.ask_person, (5, 8)),
    _probe("two_facts", world.ask_thing, (8, 14)),
    _probe("three_facts", world.ask_earlier_place, (10, 18)),
    _probe("yes_no", world.ask_yes_or_no, (5, 8)),
    _probe("counting", world.ask_number, (10, 18)),
)
