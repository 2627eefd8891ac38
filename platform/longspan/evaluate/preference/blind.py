"""Pairs of replies without the names of who wrote them, and the key that names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from longspan.config.section import Section
from longspan.errors import UserError
from longspan.evaluate.preference.answers import Answer
from longspan.hashing import content_id, uniform

KEY_VERSION: Literal[1] = 1


@dataclass(frozen=True)
class Pair:
    """Two replies to one prompt, in the order in which they are shown.

    Attributes:
        id: tells neither the prompt's own id nor the order.
        prompt: text.
        a: reply shown first.
        b: reply shown second.
    """

    id: str
    prompt: str
    a: str
    b: str


class Example(Section):
    """One example of a key."""

    prompt: str
    """Identity of the prompt."""
    is_swapped: bool
    """Whether the second model's reply is shown first."""


class Key(Section):
    """Who wrote which reply; kept apart from the page until all have voted."""

    schema_version: Literal[1] = Field(KEY_VERSION)
    set: str
    """Identity of the pairs, which votes state too."""
    models: tuple[str, str]
    """Names: votes are counted as wins of the first."""
    examples: dict[str, Example]
    """By the id of the pair."""


@dataclass(frozen=True)
class BlindSet:
    """Pairs to vote on.

    Attributes:
        set: identity of the pairs.
        pairs: in the order in which they are shown.
    """

    set: str
    pairs: tuple[Pair, ...]

    def mentions(self, names: Sequence[str]) -> int:
        """Number of pairs in which a reply states one of the models' names, which blinding can't hide."""
        lowered = [name.casefold() for name in names if name]
        texts = (f"{pair.a}\n{pair.b}".casefold() for pair in self.pairs)
        return sum(any(name in text for name in lowered) for text in texts)


def blind(
    first: Sequence[Answer], second: Sequence[Answer], models: tuple[str, str], seed: int
) -> tuple[BlindSet, Key]:
    """Pair the answers of two models to the same prompts, in an order that a seed decides.

    Prompts that only one of the two answered are left out.

    Args:
        first: answers of the first model.
        second: answers of the second model.
        models: their names, for the key alone.
        seed: of the order of pairs, and of the replies in each.

    Raises:
        UserError: they share no prompt, an id stands for different prompts, or the names are equal.
    """
    if models[0] == models[1]:
        raise UserError(f"names: both models are named {models[0]!r}; give two names")
    replies = {answer.id: answer for answer in second}
    shared = [(answer, replies[answer.id]) for answer in first if answer.id in replies]
    if not shared:
        raise UserError(
            "the two files share no prompt; give answers of both models to the same prompts"
        )
    pairs, examples = [], {}
    for own, other in shared:
        if own.prompt != other.prompt:
            raise UserError(
                f"the prompts with id {own.id!r} differ between the two files; give answers to the same prompts"
            )
        is_swapped = uniform("preference order", seed, own.id) < 0.5
        id = content_id("preference", seed, own.id)
        a, b = (other.reply, own.reply) if is_swapped else (own.reply, other.reply)
        pairs.append(Pair(id, own.prompt, a, b))
        examples[id] = Example(prompt=own.id, is_swapped=is_swapped)
    pairs.sort(key=lambda pair: pair.id)
    identity = content_id([[pair.id, pair.prompt, pair.a, pair.b] for pair in pairs])
    return BlindSet(identity, tuple(pairs)), Key(set=identity, models=models, examples=examples)
