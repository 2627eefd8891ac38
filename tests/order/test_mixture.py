"""The schedule of sources: exact shares at every row, and any row without the ones before it."""

from collections.abc import Iterator
from fractions import Fraction

from hypothesis import example, given, settings
from hypothesis import strategies as st

from longspan.order.mixture import Mixture, integer_weights

WEIGHTS = st.lists(st.floats(0.0001, 1.0), min_size=1, max_size=6)


@given(WEIGHTS)
@example([1 / 3] * 3)
@example([1e-9, 1.0])
def test_integer_weights_are_the_shares_to_a_ten_thousandth(weights: list[float]) -> None:
    rounded = integer_weights(weights)
    assert min(rounded) > 0
    assert 10_000 % sum(rounded) == 0
    for weight, exact in zip(rounded, weights, strict=True):
        tolerance = 1e-4 * len(weights)
        assert abs(weight / sum(rounded) - exact / sum(weights)) <= tolerance


def test_integer_weights_survive_another_rounding() -> None:
    weights = integer_weights([0.1234, 0.3333, 0.2, 0.3433])
    assert integer_weights(weights) == weights


@settings(max_examples=30, deadline=None)
@given(WEIGHTS, st.integers(1, 100), st.integers(1, 30_000))
def test_every_source_stays_within_one_row_of_its_weight(
    weights: list[float], length: int, rows: int
) -> None:
    shares = integer_weights(weights)
    mixture = Mixture(shares, length, rows)
    given_rows = [0] * len(shares)
    # Rows are placed in fewer than two laps; a prefix of them and the far end are looked at.
    for row in range(min(rows, 3000)):
        assert mixture.rows_before(row).tolist() == given_rows
        given_rows[mixture.source(row)] += 1
    for row in (*range(min(rows, 3000)), rows):
        for share, count in zip(shares, mixture.rows_before(row).tolist(), strict=True):
            assert abs(Fraction(share * row, sum(shares)) - count) < 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=5),
    st.integers(0, 50),
    st.sampled_from([1, 2, 3, 8, 24, 128]),
)
def test_a_cycle_goes_on_as_the_rows_placed_one_by_one(
    weights: list[int], before: int, length: int
) -> None:
    shares = tuple(weights)
    owed = Mixture(shares, 8, before).deficits(before)
    folded = Mixture(shares, length, 10**9, owed)
    rows = 5 * sum(shares)
    counts = [0] * len(shares)
    for row, source in zip(range(rows), _one_by_one(shares, length, owed), strict=False):
        assert folded.source(row) == source
        assert folded.rows_before(row).tolist() == counts
        counts[source] += 1


def test_debts_of_longer_rows_are_paid_first() -> None:
    shares = integer_weights([0.6, 0.3, 0.1])
    owed = Mixture(shares, 4096, 4).deficits(4)
    assert max(abs(debt) for debt in owed) > 128 * sum(shares)
    mixture = Mixture(shares, 128, 10_000, owed)
    for row in range(500, 10_000):
        assert max(abs(debt) for debt in mixture.deficits(row)) < 128 * sum(shares)


def test_a_tiny_share_and_a_huge_run() -> None:
    mixture = Mixture(integer_weights([0.9999, 0.0001]), 32_768, 10**12)
    assert mixture.rows_before(10**12).tolist() == [10**12 - 10**8, 10**8]
    assert mixture.deficits(10**12) == (0, 0)


def _one_by_one(shares: tuple[int, ...], length: int, owed: tuple[int, ...]) -> Iterator[int]:
    """The rule itself, in exact fractions of a row and without any folding."""
    unit = sum(shares) * length
    deficits = [Fraction(debt, unit) for debt in owed]
    steps = [Fraction(share, sum(shares)) for share in shares]
    while True:
        deficits = [debt + step for debt, step in zip(deficits, steps, strict=True)]
        ready = [source for source, debt in enumerate(deficits) if debt > 0]
        # Rows until the deficit would reach one.
        source = min(ready, key=lambda s: (-((deficits[s] - 1) // steps[s]), s))
        deficits[source] -= 1
        yield source
