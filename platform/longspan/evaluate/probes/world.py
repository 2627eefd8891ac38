"""A small world in which people walk from place to place, and take and leave things; and questions about it.

The kinds of questions are those of bAbI's tasks 1, 2, 3, 6 and 7 (Weston et al. 2015, arXiv 1502.05698, section 3);
words and rules are our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Literal

PEOPLE = ("Ragnhild", "Tobiah", "Marisol", "Ignatius")
OTHER_PEOPLE = ("Wilhelmina", "Bertil")
"""For examples, so that nothing in one is about people of a story."""
PLACES = ("attic", "bakery", "cellar", "garden", "kitchen", "library", "stable", "workshop")
THINGS = ("lantern", "compass", "basket", "violin", "ledger")
NUMBERS = ("none", "one", "two", "three")

_WALKS = ("{person} walked to the {place}.", "{person} entered the {place}.")
_TAKES = ("{person} took the {thing}.", "{person} gathered up the {thing}.")
_LEAVES = ("{person} left the {thing} behind.", "{person} laid down the {thing}.")


@dataclass(frozen=True)
class Event:
    """Fact that one sentence of a story states.

    Attributes:
        kind: a person walks to a place, takes a thing, or leaves it where the person is.
        person: who.
        place: where the person is, then.
        thing: which is taken or left; "" for a walk.
    """

    kind: Literal["walk", "take", "leave"]
    person: str
    place: str
    thing: str = ""


@dataclass(frozen=True)
class Question:
    """A question about a story.

    Attributes:
        text: of the question.
        answer: one of the labels.
        labels: all possible answers.
        support: numbers of the events that it follows from, rising.
    """

    text: str
    answer: str
    labels: tuple[str, ...]
    support: tuple[int, ...]


@dataclass(frozen=True)
class Story:
    """Sentences in order, and a question about them."""

    facts: tuple[str, ...]
    question: Question


Asks = Callable[[Sequence[Event], Random, float], Question | None]
"""Makes a question about events; None if there is none of its kind about them.

The number, in [0, 1), stands for the answer where some would otherwise be rarer than others.
"""


@dataclass
class _World:
    """Where everything is; people are nowhere until they have walked."""

    rng: Random
    names: Sequence[str]
    people: dict[str, str] = field(default_factory=dict)
    things: dict[str, str] = field(default_factory=dict)
    """Place of each thing that nobody carries."""
    carried: dict[str, str] = field(default_factory=dict)
    """Person by the thing."""

    def __post_init__(self) -> None:
        self.things = {thing: self.rng.choice(PLACES) for thing in THINGS}

    def step(self) -> Event:
        """Let something happen."""
        possible = list(self._with_things())
        if possible and self.rng.random() < 0.6:
            event = self.rng.choice(possible)
            if event.kind == "take":
                self.carried[event.thing] = event.person
                del self.things[event.thing]
            else:
                del self.carried[event.thing]
                self.things[event.thing] = event.place
            return event
        person = self.rng.choice(self.names)
        place = self.rng.choice([each for each in PLACES if each != self.people.get(person)])
        self.people[person] = place
        return Event("walk", person, place)

    def _with_things(self) -> Iterator[Event]:
        for person, place in self.people.items():
            for thing in THINGS:
                if self.things.get(thing) == place:
                    yield Event("take", person, place, thing)
                if self.carried.get(thing) == person:
                    yield Event("leave", person, place, thing)


def tell(
    rng: Random, asks: Asks, shortest: int, longest: int, names: Sequence[str] = PEOPLE
) -> Story:
    """Return a story of `shortest` to `longest` facts, about which there is a question of a kind."""
    target = rng.random()
    while True:
        world = _World(rng, names)
        events = [world.step() for _ in range(rng.randint(shortest, longest))]
        question = asks(events, rng, target)
        if question is not None:
            return Story(tuple(_sentence(event, rng) for event in events), question)


def _sentence(event: Event, rng: Random) -> str:
    patterns = {"walk": _WALKS, "take": _TAKES, "leave": _LEAVES}[event.kind]
    return rng.choice(patterns).format(person=event.person, place=event.place, thing=event.thing)


def ask_person(events: Sequence[Event], rng: Random, target: float) -> Question | None:
    """Ask where a person is: one supporting fact."""
    walks = _last_walks(events)
    person = rng.choice(sorted(walks))
    number = walks[person]
    return Question(f"Where is {person} now?", events[number].place, PLACES, (number,))


def ask_thing(events: Sequence[Event], rng: Random, target: float) -> Question | None:
    """Ask where a thing is that somebody took: two supporting facts."""
    last = {event.thing: number for number, event in enumerate(events) if event.thing}
    if not last:
        return None
    thing = rng.choice(sorted(last))
    touched = last[thing]
    person = events[touched].person
    is_carried = events[touched].kind == "take"
    walked = _last_walks(events if is_carried else events[:touched])[person]
    support = tuple(sorted((touched, walked)))
    return Question(f"Where is the {thing} now?", events[walked].place, PLACES, support)


def ask_earlier_place(events: Sequence[Event], rng: Random, target: float) -> Question | None:
    """Ask where a thing was before a place that somebody carried it to: three supporting facts."""
    found = [
        question
        for thing in sorted({event.thing for event in events if event.thing})
        for question in _moves_of(thing, events)
    ]
    return rng.choice(found) if found else None


def _moves_of(thing: str, events: Sequence[Event]) -> Iterator[Question]:
    """Questions about each place that a thing came to once only."""
    walks: dict[str, int] = {}
    taken: int | None = None
    first: int | None = None
    moves: list[tuple[int, int, int]] = []
    for number, event in enumerate(events):
        if event.thing == thing:
            taken = number if event.kind == "take" else None
            first = number if first is None else first
        if event.kind == "walk":
            if taken is not None and events[taken].person == event.person:
                moves.append((taken, walks[event.person], number))
            walks[event.person] = number
    if first is None or not moves:
        return
    places = [events[first].place, *(events[move[2]].place for move in moves)]
    for (before, place), move in zip(pairwise(places), moves, strict=True):
        if places.count(place) == 1:
            text = f"Where was the {thing} just before it came to the {place}?"
            yield Question(text, before, PLACES, tuple(sorted(move)))


def ask_yes_or_no(events: Sequence[Event], rng: Random, target: float) -> Question | None:
    """Ask whether a person is at some place; yes and no are equally likely."""
    walks = _last_walks(events)
    person = rng.choice(sorted(walks))
    number = walks[person]
    place, answer = events[number].place, "yes"
    if target < 0.5:
        place, answer = rng.choice([each for each in PLACES if each != place]), "no"
    return Question(f"Is {person} in the {place} now?", answer, ("yes", "no"), (number,))


def ask_number(events: Sequence[Event], rng: Random, target: float) -> Question | None:
    """Ask how many things a person carries; the numbers are equally likely."""
    wanted = int(target * len(NUMBERS))
    touched: dict[str, list[int]] = {}
    for number, event in enumerate(events):
        if event.thing:
            touched.setdefault(event.person, []).append(number)
    carrying = {
        person: sum(1 if events[number].kind == "take" else -1 for number in numbers)
        for person, numbers in touched.items()
    }
    people = sorted(person for person, count in carrying.items() if count == wanted)
    if not people:
        return None
    person = rng.choice(people)
    text = f"How many things is {person} carrying now?"
    return Question(text, NUMBERS[wanted], NUMBERS, tuple(touched[person]))


def _last_walks(events: Sequence[Event]) -> dict[str, int]:
    """Number of the last walk of each person."""
    return {event.person: number for number, event in enumerate(events) if event.kind == "walk"}
