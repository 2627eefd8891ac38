"""Random words, numbers and identifiers that samples are made of."""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable, Iterable

_ADJECTIVES = """
alert amber ample ancient arctic bashful blunt bold brave breezy brisk bronze bumpy calm candid careful cheap
cheerful chilly civil clever cloudy coarse common copper cosmic cozy crimson crisp curious curly daring dapper
dense distant dizzy double drowsy dusty eager early elastic elegant empty exotic faint fancy fearless fertile
flat fluffy foggy formal fragile frank frosty frugal gentle giant glad glossy golden graceful grand grumpy
handy happy harsh hasty hidden hollow honest humble hungry idle jolly keen kind large lazy lively lonely loud
loyal lucky marble massive mellow merry mild misty modern modest muddy narrow neat nimble noble noisy odd
opaque orange paper patient pastel plain playful polite polar proud purple quick quiet rapid rare restless
rigid robust rocky rough round royal rustic sandy scarlet secret severe shallow sharp shiny shy silent silky
silver simple sleepy slender slim slow smooth sober solar solid spicy square steady steep sticky stormy strict
sturdy subtle sunny swift tall tame tender thirsty tidy timid tiny topaz tough tranquil twin urban vague vast
velvet vivid warm wary weary wild windy wise witty wooden yellow young zesty
"""
_NOUNS = """
acorn airport almond anchor anvil apron arrow atlas attic badge bakery balcony balloon banjo barrel basket
beacon beaver bicycle blanket blossom bottle boulder bridge bucket buffalo cabin cactus camel canal candle
canyon carpet castle cavern cellar chimney cinema circus clarinet cliff clock closet cobweb comet compass
coral cottage cradle crayon cricket crystal curtain dagger dolphin donkey dragon drawer drum eagle easel elbow
engine falcon feather ferry fiddle forest fountain furnace galaxy garlic gazelle geyser glacier goblet guitar
hammer harbor hatchet helmet hermit hinge igloo island jacket jaguar jigsaw jungle kettle keyhole kitchen
kitten ladder lagoon lantern laptop lemon library lizard lobster locket lumber magnet mammoth mango meadow
medal mirror monsoon mosaic mountain muffin museum mustard napkin needle nickel notebook nutmeg oasis ocean
octopus orchard otter oyster paddle palace panda parcel parrot pebble pelican pencil pepper piano pigeon
pillow pirate planet plaza pocket pony portrait prairie pretzel pumpkin puzzle quarry quilt rabbit radish
railway rainbow raven ribbon river rocket saddle sailor salmon sandal saucer scooter shelter shovel shuttle
sketch slipper snail sonnet spider spoon stadium statue summit tablet tavern teapot temple thimble thunder
ticket tiger tomato torch tractor trumpet tulip tunnel turnip turtle umbrella valley vessel village violin
volcano waffle wagon walnut whistle widow willow window wizard yogurt zebra zipper
"""


ADJECTIVES = tuple(_ADJECTIVES.split())
NOUNS = tuple(_NOUNS.split())


def keyword(rng: random.Random) -> str:
    """Return an adjective and a noun with a hyphen between them."""
    return f"{rng.choice(ADJECTIVES)}-{rng.choice(NOUNS)}"


def number(rng: random.Random, digits: int) -> str:
    """Return a number of so many digits, the first of them not zero."""
    return str(rng.randrange(10 ** (digits - 1), 10**digits))


def identifier(rng: random.Random) -> str:
    """Return a random UUID (version 4)."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def letters(rng: random.Random, count: int, alphabet: str = string.ascii_lowercase) -> str:
    """Return so many random letters."""
    return "".join(rng.choices(alphabet, k=count))


def distinct(
    draw: Callable[[], str], count: int, is_taken: Callable[[str], bool] | Iterable[str] = ()
) -> list[str]:
    """Return so many different texts out of those that are drawn.

    Args:
        draw: draws one.
        count: how many.
        is_taken: tells of a text that it must not be used, or the texts of which that is so.
    """
    taken = is_taken if callable(is_taken) else frozenset(is_taken).__contains__
    found: dict[str, None] = {}
    while len(found) < count:
        text = draw()
        if not taken(text):
            found[text] = None
    return list(found)


def counting_words(real: Iterable[str], count: int, rng: random.Random) -> list[str]:
    """Return so many different words in random order.

    Args:
        real: words to prefer, in a fixed order; if there are too few, words made of an adjective or a noun, and a
            noun, follow.
        count: how many; fewer are returned if there are fewer, some 80,000.
        rng: of the choice.
    """
    words = list(real)
    if len(words) < count:
        compounds = [first + noun for first in (*ADJECTIVES, *NOUNS) for noun in NOUNS]
        words = list(dict.fromkeys([*words, *compounds]))
    return rng.sample(words, min(count, len(words)))
