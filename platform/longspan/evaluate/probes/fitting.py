"""Functions of the probes that do more than put needles into a haystack."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from longspan.errors import UserError
from longspan.evaluate.haystack import Frame, Placed, fill, haystack_of, most_units, place
from longspan.evaluate.samples import ProbeSource, PromptFormat

Item = TypeVar("Item")

BASE = 0
"""Length of a prompt with nothing around its evidence: the score there is what longer ones are compared with."""
STOP = ("\n\n", "\nQuestion:")
"""Ends an answer of one line; a model that completes a text goes on with another question."""
SAMPLED_UNITS = 32
CHARACTERS_PER_TOKEN = 12
"""More than a token of any text has on average."""


def longest(
    format: PromptFormat,
    build: Callable[[int], Placed],
    units: Sequence[str],
    budget: int,
    answer_prefix: str,
) -> Placed:
    """Return the prompt with as many units as fit into a budget of tokens, for any way of building it.

    `haystack.fill` does the same where units stand one after another.

    Args:
        format: of the prompt.
        build: makes the prompt's text with so many of the units.
        units: pieces of text, in the order in which they are taken.
        budget: tokens of the prompt, at most.
        answer_prefix: how the answer begins.

    Raises:
        UserError: the budget is too small for a prompt without units, or the units are too few.
    """

    def tokens_with(count: int) -> int:
        return len(format.prompt_ids(build(count).text, answer_prefix))

    overhead = tokens_with(0)
    sampled = [format.count(unit) for unit in units[:SAMPLED_UNITS]]
    per_unit = max(1.0, sum(sampled) / max(1, len(sampled)))
    count = most_units(
        tokens_with,
        lambda number: format.count(units[number]),
        budget,
        len(units),
        int((budget - overhead) / per_unit),
    )
    if count is None:
        raise UserError(
            f"probes.lengths: a prompt of at most {budget:,} tokens is asked for, and this one has {overhead:,} "
            "without any context; leave the length out, or the task"
        )
    if count == len(units):
        raise UserError(
            f"probes.lengths: a prompt of {budget:,} tokens is asked for, and with all text that there is it has "
            f"{tokens_with(count):,}; leave the length out, or evaluate on more documents"
        )
    return build(count)


def fill_or_base(
    format: PromptFormat,
    frame: Frame,
    units: Sequence[str],
    inserts: Sequence[tuple[float, str]],
    budget: int | None,
) -> Placed:
    """Return what `haystack.fill` does; without a budget the prompt has no units."""
    if budget is not None:
        return fill(format, frame, units, inserts, budget)
    context = place((), inserts)
    text = frame.before + context.text + frame.after
    return Placed(text, context.shifted(len(frame.before)))


def enough(pieces: Iterable[str], tokens: int) -> list[str]:
    """Return the first pieces of a text, more than have so many tokens if there are so many."""
    found, characters = [], 0
    for piece in pieces:
        found.append(piece)
        characters += len(piece)
        if characters > CHARACTERS_PER_TOKEN * tokens:
            break
    return found


def turn(source: ProbeSource, name: str, count: int, index: int) -> int:
    """Return which of `count` items sample `index` is about: each once, in another order each round."""
    return next(turns(source, name, count, index))


def turns(source: ProbeSource, name: str, count: int, index: int) -> Iterator[int]:
    """Yield the item that sample `index` is about (see `turn`), then the others of its round, each once."""
    order = list(range(count))
    source.rng(name, "round", index // count).shuffle(order)
    for step in range(count):
        yield order[(index + step) % count]


def first_fitting(
    format: PromptFormat,
    items: Iterable[Item],
    bare_prompt: Callable[[Item], str],
    budget: int,
    answer_prefix: str,
) -> Item:
    """Return the first item whose prompt, without any text around, fits into a budget.

    Args:
        format: of the prompt.
        items: in the order in which they are preferred.
        bare_prompt: text of an item's prompt without any text around.
        budget: tokens of the prompt, at most.
        answer_prefix: how the answer begins.

    Raises:
        UserError: none fits.
    """
    shortest = None
    for item in items:
        tokens = len(format.prompt_ids(bare_prompt(item), answer_prefix))
        if tokens <= budget:
            return item
        shortest = tokens if shortest is None else min(shortest, tokens)
    raise UserError(
        f"probes.lengths: a prompt of at most {budget:,} tokens is asked for, and the shortest one has {shortest:,} "
        "without any text around; leave the length out, or the task"
    )


@dataclass(frozen=True)
class Prose:
    """Sentences of held-out documents.

    Attributes:
        sentences: more than fit into the length, if there are so many.
        document: id of the one that the first sentence is of; "" without sentences.
    """

    sentences: tuple[str, ...]
    document: str


def prose(source: ProbeSource, length: int, place: float, without: Iterable[str]) -> Prose:
    """Return sentences in the order of the documents, from some place on.

    Args:
        source: of the documents.
        length: tokens to fill; `BASE` for no sentences.
        place: where to begin, as a share of all sentences, in [0, 1).
        without: words; sentences that have one of them are left out.
    """
    haystack = haystack_of(source)
    if length == BASE or not len(haystack):
        return Prose((), "")
    sentences = lacking(haystack.passage(int(place * len(haystack))), without)
    return Prose(tuple(enough(sentences, length)), document_at(source, place))


def document_at(source: ProbeSource, place: float) -> str:
    """Return the id of the document at a share of all sentences, in [0, 1); "" without sentences."""
    haystack = haystack_of(source)
    if not len(haystack):
        return ""
    return haystack.documents[haystack.document_of(int(place * len(haystack)))].id


def lacking(sentences: Iterable[str], words: Iterable[str]) -> Iterator[str]:
    """Yield the sentences that have none of some words, in upper or lower case."""
    alternatives = "|".join(sorted(re.escape(word) for word in words))
    has_word = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)
    return (sentence for sentence in sentences if not alternatives or not has_word.search(sentence))


def only_at_base(task: str, length: int) -> str | None:
    """Return the problem of a task without any context, which has one length only."""
    if length == BASE:
        return None
    return f"{task} has no context, so that it is asked at length {BASE} only"
