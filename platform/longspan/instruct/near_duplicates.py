"""Near-duplicate questions: MinHash signatures find candidates, the overlap itself decides."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

HASHES = 64
ROWS = 4
"""Values of a band: pairs that overlap by half share one of 16 bands with a probability of 0.64,
pairs that overlap by 0.7 with 0.99."""
_PRIME = np.uint64((1 << 61) - 1)
_WORD = re.compile(r"\w+")


def near_duplicates(questions: Sequence[str], threshold: float) -> dict[int, int]:
    """Questions that say again what an earlier one says.

    Args:
        questions: in order of preference.
        threshold: smallest overlap: the Jaccard index of two questions' words, pairs and triples of
            words. Equal questions always count.

    Returns:
        The number of each question that is left out, and of the earlier one that is kept.
    """
    grams = [_grams(question) for question in questions]
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    repeats: dict[int, int] = {}
    for number, found in enumerate(grams):
        bands = _bands(found)
        near = {other for band in bands for other in buckets[band]}
        same = next((n for n in sorted(near) if _overlap(found, grams[n]) >= threshold), None)
        if same is not None:
            repeats[number] = same
            continue
        for band in bands:
            buckets[band].append(number)
    return repeats


def _grams(question: str) -> frozenset[str]:
    words = _WORD.findall(question.casefold())
    return frozenset(
        " ".join(words[start : start + length])
        for length in (1, 2, 3)
        for start in range(len(words) - length + 1)
    ) or frozenset([question])


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)


def _bands(grams: frozenset[str]) -> list[tuple[int, bytes]]:
    hashed = np.array([zlib.crc32(gram.encode()) for gram in grams], np.uint64)
    values = (hashed[:, None] * _FACTORS + _OFFSETS) % _PRIME
    signature = values.min(axis=0).reshape(-1, ROWS)
    return [(number, band.tobytes()) for number, band in enumerate(signature)]


# Below 2^29, so that the product with a 32-bit hash stays below the prime.
_DRAWS = np.random.Generator(np.random.PCG64(20230929)).integers(1, 2**28, (2, HASHES))
_FACTORS, _OFFSETS = _DRAWS.astype(np.uint64)
