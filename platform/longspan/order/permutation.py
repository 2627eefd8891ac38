"""Permutations that are fixed for good by their key."""

from __future__ import annotations

import numpy as np


def permutation(key: tuple[int, ...], size: int) -> np.ndarray:
    """A permutation of `size` things, int64, the same wherever and whenever it is made.

    Sorted raw outputs of Philox: numpy guarantees the stream of a seeded bit generator, whereas
    `Generator.permutation` may change its algorithm between versions.
    """
    keys = np.random.Philox(np.random.SeedSequence(key)).random_raw(size)
    return np.argsort(keys, kind="stable")
