"""A cheap first check of an answer: are its words in the chunk at all?"""

from __future__ import annotations

import re

# Written without spaces, these scripts give no words; their characters are compared one by one.
_SINGLE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_WORD = re.compile(rf"[{_SINGLE}]|[^\W_{_SINGLE}]+")
_SHORT = 3
"""Shorter words (articles, prepositions) are everywhere; numbers count whatever their length."""
_COMMON = frozenset(
    word
    for line in (
        "about after also and are because been being but can could did does for from had has have",
        "her him his how into its more not only other our out she some such than that the their",
        "them then there these they this those through too under was were what when where which",
        "while who whom whose why will with would yes you your",
    )
    for word in line.split()
)


def grounding(answer: str, chunk: str) -> float:
    """Share of an answer's words that occur in the chunk, in [0, 1]; 1 for an answer without any.

    Words that say little by themselves, and those of one or two letters, don't count. A word also
    occurs as a part of another one: endings differ.
    """
    words = {word for word in _WORD.findall(answer.casefold()) if _counts(word)}
    if not words:
        return 1.0
    text = chunk.casefold()
    return sum(word in text for word in words) / len(words)


def _counts(word: str) -> bool:
    if len(word) == 1 and re.match(f"[{_SINGLE}]", word):
        return True
    return any(letter.isdigit() for letter in word) or (len(word) >= _SHORT and word not in _COMMON)
