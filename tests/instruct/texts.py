"""Documents whose facts can be asked for, one line a paragraph."""

import random
import re

NAMES = ("Anna", "Boris", "Clara", "David", "Edith", "Felix", "Greta", "Hugo")
THINGS = ("lantern", "compass", "violin", "kettle", "ledger", "saddle", "mirror", "anchor")
FACT = re.compile(r"(\w+) kept a (\w+) in house (\d+)")


def story(seed: int, paragraphs: int) -> str:
    """A document of so many paragraphs; each has a number that no other has."""
    draw = random.Random(seed)
    return "\n\n".join(
        f"{draw.choice(NAMES)} kept a {draw.choice(THINGS)} in house {seed * 10_000 + number}. "
        "It was sold in the winter. Nobody asked who had made it."
        for number in range(paragraphs)
    )
