"""Answers of stories follow from their sentences, as another reading of them finds."""

import re
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.evaluate.probes import world
from longspan.evaluate.probes.stories import TASKS, StoryProbe, depths_in_order
from longspan.evaluate.samples import PromptFormat
from tests.evaluate.probe_checks import check_sample, evidence_of
from tests.evaluate.probe_fixtures import chat_format, completion_format, probe_source

NAMES = "|".join(world.PEOPLE)
WALK = re.compile(rf"({NAMES}) (?:walked to|entered) the (\w+)\.")
TAKE = re.compile(rf"({NAMES}) (?:took|gathered up) the (\w+)\.")
LEAVE = re.compile(rf"({NAMES}) (?:left|laid down) the (\w+)(?: behind)?\.")


class Reader:
    """Reads sentences one by one, and writes down where every person and thing is after each."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self.people: dict[str, str] = {}
        self.holder: dict[str, str | None] = {}
        self.track: dict[str, list[str]] = {}
        for sentence in sentences:
            self.read(sentence)
            for thing, holder in self.holder.items():
                if holder is not None:
                    here = self.people[holder]
                    places = self.track.setdefault(thing, [])
                    if not places or places[-1] != here:
                        places.append(here)

    def read(self, sentence: str) -> None:
        if walk := WALK.fullmatch(sentence):
            assert self.people.get(walk[1]) != walk[2], "nobody walks to where they are"
            self.people[walk[1]] = walk[2]
        elif take := TAKE.fullmatch(sentence):
            assert self.holder.get(take[2]) is None, "a thing is taken by one person"
            if take[2] in self.track:
                assert self.track[take[2]][-1] == self.people[take[1]], "it is taken where it lies"
            self.holder[take[2]] = take[1]
        else:
            leave = LEAVE.fullmatch(sentence)
            assert leave and self.holder[leave[2]] == leave[1], sentence
            self.holder[leave[2]] = None

    def answer(self, question: str) -> str:
        if found := re.fullmatch(rf"Where is ({NAMES}) now\?", question):
            return self.people[found[1]]
        if found := re.fullmatch(r"Where is the (\w+) now\?", question):
            return self.track[found[1]][-1]
        if found := re.fullmatch(
            r"Where was the (\w+) just before it came to the (\w+)\?", question
        ):
            track = self.track[found[1]]
            assert track.count(found[2]) == 1
            return track[track.index(found[2]) - 1]
        if found := re.fullmatch(rf"Is ({NAMES}) in the (\w+) now\?", question):
            return "yes" if self.people[found[1]] == found[2] else "no"
        found = re.fullmatch(rf"How many things is ({NAMES}) carrying now\?", question)
        assert found, question
        return world.NUMBERS[list(self.holder.values()).count(found[1])]


ALL = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


@ALL
@given(seed=st.integers(0, 2**32))
def test_an_answer_is_what_another_reading_of_the_story_finds(task: StoryProbe, seed: int) -> None:
    story = world.tell(Random(seed), task.asks, *task.facts)
    asked = story.question
    assert task.facts[0] <= len(story.facts) <= task.facts[1]
    assert Reader(story.facts).answer(asked.text) == asked.answer
    assert asked.answer in asked.labels and len(set(asked.labels)) == len(asked.labels)
    assert list(asked.support) == sorted(set(asked.support))
    assert (
        answer_of_support([story.facts[number] for number in asked.support], asked.text)
        == asked.answer
    )


def answer_of_support(facts: Sequence[str], question: str) -> str:
    """The answer by the supporting facts alone, which are all about one person."""
    assert len({re.search(NAMES, fact)[0] for fact in facts}) == 1  # pyrefly: ignore
    walks = [found[2] for fact in facts if (found := WALK.fullmatch(fact))]
    taken, left = (sum(bool(kind.fullmatch(fact)) for fact in facts) for kind in (TAKE, LEAVE))
    if question.startswith("How many"):
        assert not walks
        return world.NUMBERS[taken - left]
    if question.startswith("Where was"):
        before, here = walks
        assert (taken, left) == (1, 0) and question.endswith(f" came to the {here}?")
        return before
    (here,) = walks
    if question.startswith("Is"):
        assert taken + left == 0
        return "yes" if question.endswith(f" in the {here} now?") else "no"
    assert taken + left == question.startswith("Where is the")
    return here


@pytest.mark.parametrize(
    ("asks", "labels"),
    [(world.ask_yes_or_no, ("yes", "no")), (world.ask_number, world.NUMBERS)],
    ids=["yes_no", "counting"],
)
def test_labels_are_equally_frequent(asks: world.Asks, labels: tuple[str, ...]) -> None:
    answers = [world.tell(Random(seed), asks, 10, 18).question.answer for seed in range(400)]
    expected = 400 / len(labels)
    # Five standard deviations of a count.
    assert all(abs(answers.count(label) - expected) < 5 * expected**0.5 for label in labels)


@given(st.integers(1, 20), st.data(), st.floats(0, 1), st.integers(0, 99))
def test_facts_keep_their_order(count: int, data: st.DataObject, depth: float, seed: int) -> None:
    first = data.draw(st.integers(0, count - 1))
    depths = depths_in_order(count, first, depth, Random(seed))
    assert len(depths) == count and depths[first] == depth
    assert list(depths) == sorted(depths) and depths[0] >= 0 and depths[-1] <= 1


@ALL
@pytest.mark.parametrize("format", [completion_format, chat_format], ids=["none", "chat"])
def test_a_story_stands_in_prose_in_its_order(
    task: StoryProbe, format: Callable[[], PromptFormat]
) -> None:
    source = probe_source(format())
    alone = task.sample(source, 0, 6)
    for length in (1536, 4096):
        sample = check_sample(task, source, length, 6, slack=60)
        text = sample.text.partition("Text:\n")[2].partition("\n\nQuestion:")[0]
        facts = re.findall(rf"(?:{NAMES}) [^.]*\.", text)
        question = sample.text.rpartition("Question: ")[2].partition("?")[0] + "?"
        assert Reader(facts).answer(question) == sample.references[0]
        assert len(text) > 3 * len(" ".join(facts))
        start = sample.text.index("Text:\n") + 6
        at = (sample.evidence[0][0] - start) / len(text)
        assert sample.depth is not None and abs(at - sample.depth) < 0.2
        # The same story at every length, also without prose.
        assert " ".join(facts) in alone.text
        assert evidence_of(sample) == evidence_of(alone)
        assert sample.references == alone.references
    assert alone.depth is None and task.problem(source, 0) is None
    assert alone.text.rpartition("Text:\n")[2].count(".") == len(facts) + 1


@ALL
def test_the_example_is_about_other_people_and_right(task: StoryProbe) -> None:
    text = task.sample(probe_source(), 0, 0).text
    example = text.partition("Example:\n")[2].partition("\n\nText:")[0]
    assert not re.search(NAMES, example)
    renamed = example
    for person, other in zip(world.PEOPLE, world.OTHER_PEOPLE, strict=False):
        renamed = renamed.replace(other, person)
    story, _, rest = renamed.partition("\n\nQuestion: ")
    facts = re.findall(r"[^.]+\.", story)
    question = rest.partition("?")[0] + "?"
    assert (
        Reader([fact.strip() for fact in facts]).answer(question) == rest.rpartition("Answer: ")[2]
    )
