"""Exact duplicates, against a dictionary."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.selection.duplicates import repeated
from longspan.shards.token_shards import digests

# Few values, in the low and the high ranges, so that halves collide alone and together.
halves = st.sampled_from([0, 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
parts_of_digests = st.lists(st.lists(st.tuples(halves, halves), max_size=30), max_size=12)


def arrays(parts: list[list[tuple[int, int]]]) -> list[np.ndarray]:
    return [np.array(part, np.uint64).reshape(-1, 2) for part in parts]


def naive(parts: list[np.ndarray]) -> list[list[int]]:
    seen: set[tuple[int, int]] = set()
    found: list[list[int]] = []
    for part in parts:
        found.append([])
        for index, (first, second) in enumerate(part.tolist()):
            if (first, second) in seen:
                found[-1].append(index)
            seen.add((first, second))
    return found


def found(parts: list[np.ndarray], most_at_once: int) -> list[list[int]]:
    counts = [len(part) for part in parts]
    return [indices.tolist() for indices in repeated(counts, parts.__getitem__, most_at_once)]


@settings(deadline=None)
@given(parts_of_digests, st.integers(5, 400))
def test_the_first_copy_stays_however_many_passes_it_takes(
    parts: list[list[tuple[int, int]]], most_at_once: int
) -> None:
    given = arrays(parts)

    assert found(given, most_at_once) == naive(given)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(50, 3000), st.floats(0, 1))
def test_random_digests(seed: int, most_at_once: int, share: float) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, 2**64, (1000, 2), np.uint64)
    copies = random.random(1000) < share
    values[copies] = values[random.integers(0, 1000, copies.sum())]
    given = np.split(values, np.sort(random.integers(0, 1000, 9)))

    assert found(given, most_at_once) == naive(given)


def test_memory_is_bounded_also_when_all_documents_are_the_same() -> None:
    part = np.full((1000, 2), 7, np.uint64)
    loads = []

    def load(number: int) -> np.ndarray:
        loads.append(number)
        return part

    indices = repeated([1000] * 50, load, most_at_once=10_000)

    assert [len(part) for part in indices] == [999] + [1000] * 49
    assert len(loads) == 50 * 10


def test_nothing_is_repeated_where_there_is_nothing() -> None:
    assert repeated([], lambda part: np.empty((0, 2), np.uint64)) == []
    assert found([np.empty((0, 2), np.uint64)] * 3, 5) == [[], [], []]


def test_a_part_of_another_size_is_an_error() -> None:
    with pytest.raises(AssertionError, match="part 0"):
        repeated([2], lambda part: np.zeros((1, 2), np.uint64))


def test_errors_of_loading_are_raised() -> None:
    def load(number: int) -> np.ndarray:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        repeated([2] * 20, load)


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=20))
def test_digests_are_blake2b_of_each_documents_tokens(documents: list[list[int]]) -> None:
    tokens = np.array([token for document in documents for token in document], np.int32)
    offsets = np.cumsum([0, *map(len, documents)])
    expected = [
        hashlib.blake2b(np.array(document, "<i4").tobytes(), digest_size=16).digest()
        for document in documents
    ]

    values = digests(tokens, offsets)

    assert values.shape == (len(documents), 2)
    assert [row.astype("<u8").tobytes() for row in values] == expected
    # However the tokens are stored.
    assert np.array_equal(digests(tokens.astype(np.uint32), offsets), values)
