"""Cost of a regular expression that an answer must follow."""

from __future__ import annotations

import re

MAX_UNROLLED = 130
"""Repetitions above which more of them cost no more."""
OPTIONAL = 32
"""Factor of what may be left out: sixteen such characters in a row take as long as 500 that may not."""
STAR = 32
PLUS = 8
CHOICE = 10
"""Factors of `*`, `+` and `a|b`: where several in a row match the same text, the engine follows all ways."""
FACTORS = {"?": OPTIONAL, "*": STAR, "+": PLUS}
MAX_COST = 10**6

_TOKEN = re.compile(
    r"""
      (?P<open>\((?:\?(?:[:=!]|<[=!]|P?<\w+>))?)
    | (?P<close>\))
    | (?P<either>\|)
    | (?P<repeat>\{\d*,?\d*\})
    | (?P<quantifier>[?*+])
    | (?P<any>\.|\[(?:\\.|[^\]\\])*\]?|\\[dDwWsSpP])
    | \\?.
    """,
    re.VERBOSE | re.DOTALL,
)


class _Group:
    """One group of a pattern, or all of it: the cost of what is complete, and of the last atom."""

    def __init__(self) -> None:
        self.cost = self.last = 0
        self.has_choice = False

    def add(self, atom: int) -> None:
        """Take one more atom, which a quantifier may follow."""
        self.cost, self.last = self.cost + self.last, min(atom, MAX_COST)

    def total(self) -> int:
        """Cost of the group: a choice is like a part that may be left out."""
        return min((self.cost + self.last) * (CHOICE if self.has_choice else 1), MAX_COST)


def num_places(pattern: str) -> int:
    """Characters of a regular expression that may be any of a class, with their repetitions.

    The engine's automaton has a state for each, and looks at the whole vocabulary in it: some 30 ms.
    Literal characters cost nothing.
    """
    groups = [_Group()]
    for token in _TOKEN.finditer(pattern):
        group, kind = groups[-1], token.lastgroup
        if kind == "open":
            groups.append(_Group())
        elif kind == "close" and len(groups) > 1:
            groups.pop()
            groups[-1].add(group.total())
        elif kind == "either":
            group.has_choice = True
        elif kind == "repeat":
            group.last = min(group.last * _repetitions(token[0]), MAX_COST)
        elif kind == "quantifier":
            group.last = min(group.last * FACTORS[token[0]], MAX_COST)
        elif kind == "any":
            group.add(1)
        else:
            group.add(0)
    return sum(group.total() for group in groups)


def _repetitions(quantifier: str) -> int:
    """Factor of `{3}`, `{2,}` or `{2,5}`."""
    low, comma, high = quantifier[1:-1].partition(",")
    count = min(max(int(low[:10] or 0), int(high[:10] or 0)), MAX_UNROLLED)
    if not comma:
        return max(count, 1)
    return max(count, OPTIONAL) if high else count + PLUS
