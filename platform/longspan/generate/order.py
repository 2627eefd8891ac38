"""Order of requests: such that may share the beginning of their prompts together, and the longest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def grouped_longest_first(
    items: Iterable[Item], tokens: Callable[[Item], int], groups: Callable[[Item], Sequence[str]]
) -> list[Item]:
    """Return items ordered by nested groups; at each level those with the longest item come first.

    An engine computes the common beginning of prompts once if they follow one another, and the first item is the
    longest of all, so that a lack of memory shows at once. The order depends on the set of items alone, not on the
    order in which they are given.

    Args:
        items: in any order.
        tokens: length of an item.
        groups: names of its groups, from the outermost to one that is its own.
    """
    placed = [(tuple(groups(item)), item) for item in items]
    longest: dict[tuple[str, ...], int] = {}
    for path, item in placed:
        for outer in _prefixes(path):
            longest[outer] = max(longest.get(outer, 0), tokens(item))
    placed.sort(key=lambda each: [(-longest[outer], outer[-1]) for outer in _prefixes(each[0])])
    return [item for _, item in placed]


def _prefixes(path: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [path[:depth] for depth in range(1, len(path) + 1)]
