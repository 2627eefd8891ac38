"""Exact duplicates: which documents repeat an earlier one, for more of them than fit in memory.

Documents are compared by a 128-bit hash of their tokens, which shards keep (`shards.digests`).
Were all of a trillion documents different,
two of them would still have the same one with a probability of about 10^-15 (n^2 / 2^129), so equal
hashes are taken for equal documents.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np

MOST_AT_ONCE = 2**26
THREADS = 8


def repeated(
    counts: Sequence[int], load: Callable[[int], np.ndarray], most_at_once: int = MOST_AT_ONCE
) -> list[np.ndarray]:
    """For each of some parts, its documents that repeat one of an earlier part or of the same.

    The first copy, by part and then index, is not among them. The digests are gone through several
    times, each time for one range of their values, so that about `most_at_once` of them and the
    parts being loaded are in memory (some 80 bytes per digest while they are sorted).

    Args:
        counts: number of documents of every part.
        load: a part's digests by its number, uint64 [documents, 2]; called in order, from several
            threads, once per pass.
        most_at_once: digests in memory, at least 2.

    Returns:
        Sorted indices within each part, int64 [repeated documents of that part].
    """
    starts = np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))])
    total = int(starts[-1])
    # Half of the room is for the documents that differ, half for what may turn out to be copies.
    passes = 1 if total <= most_at_once else -(-2 * total // most_at_once)
    found = [np.empty(0, np.int64)]
    with ThreadPoolExecutor(THREADS) as pool:
        for number in range(passes):
            first, end = (2**64 * n // passes for n in (number, number + 1))
            loaded = _loaded(pool, load, len(counts))
            found += _repeated_in_range(starts, loaded, first, end - 1, most_at_once)
    places = np.sort(np.concatenate(found))
    cuts = np.searchsorted(places, starts)
    return [places[a:b] - start for (a, b), start in zip(pairwise(cuts), starts, strict=False)]


def _repeated_in_range(
    starts: np.ndarray, loaded: Iterator[np.ndarray], first: int, last: int, most: int
) -> Iterator[np.ndarray]:
    """Places, counted over all parts, of repeated documents with first <= digest[0] <= last."""
    kept = _Kept()
    for part, values in enumerate(loaded):
        documents = int(starts[part + 1] - starts[part])
        assert values.shape == (documents, 2), f"part {part}: {values.shape}, not {documents}"
        chosen = np.flatnonzero((values[:, 0] >= np.uint64(first)) & (values[:, 0] <= last))
        kept.add(values[chosen], chosen + starts[part])
        if kept.size > most:
            yield kept.remove_repeated()
    yield kept.remove_repeated()


class _Kept:
    """Digests and their places, in order of place."""

    def __init__(self) -> None:
        self.size = 0
        self._digests: list[np.ndarray] = [np.empty((0, 2), np.uint64)]
        self._places: list[np.ndarray] = [np.empty(0, np.int64)]

    def add(self, values: np.ndarray, places: np.ndarray) -> None:
        self._digests.append(values)
        self._places.append(places)
        self.size += len(places)

    def remove_repeated(self) -> np.ndarray:
        """Keep only the first of equal digests; returns the places of the others."""
        values, places = np.concatenate(self._digests), np.concatenate(self._places)
        repeats = _repeats(values)
        removed = places[repeats]
        self._digests, self._places = [values[~repeats]], [places[~repeats]]
        self.size = len(self._places[0])
        return removed


def _repeats(values: np.ndarray) -> np.ndarray:
    """Whether each digest is equal to one before it, bool [n]."""
    repeats = np.zeros(len(values), bool)
    order = np.argsort(values[:, 0])
    high = values[order, 0]
    equal = high[1:] == high[:-1]
    if not equal.any():
        return repeats
    # Only what shares its first half with another is sorted in full.
    shared = np.zeros(len(values), bool)
    shared[1:] |= equal
    shared[:-1] |= equal
    places = np.sort(order[shared])
    candidates = values[places]
    order = np.lexsort((candidates[:, 1], candidates[:, 0]))  # Stable: copies stay in order.
    ranked = candidates[order]
    same = (ranked[1:] == ranked[:-1]).all(axis=1)
    repeats[places[order[1:][same]]] = True
    return repeats


def _loaded(
    pool: ThreadPoolExecutor, load: Callable[[int], np.ndarray], parts: int
) -> Iterator[np.ndarray]:
    """The parts in order; the next few are being loaded meanwhile."""
    ahead: deque[Future[np.ndarray]] = deque()
    for part in range(parts):
        ahead.append(pool.submit(load, part))
        if len(ahead) > THREADS:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()
