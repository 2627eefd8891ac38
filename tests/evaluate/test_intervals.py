import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.evaluate.combine import (
    Interval,
    expected_half_width,
    mean_interval,
    weighted_sum,
    wilson,
)
from longspan.evaluate.intervals import (
    ClusterSums,
    estimate,
    mean_of,
    minimum_detectable,
    paired,
    paired_differences,
)
from longspan.evaluate.results import Estimate
from longspan.hashing import uniform

RUNS = 500


def coins(share: float, size: int, seed: int) -> list[float]:
    """Independent scores of 0 and 1 by hash."""
    return [float(uniform("coin", seed, index) < share) for index in range(size)]


def clustered_coins(share: float, seed: int, clusters: int = 20) -> tuple[list[float], list[int]]:
    """Five scores for each cluster, with a correlation of 0.3 within it: shares of clusters follow a beta law."""
    rng = random.Random(seed)
    precision = 1 / 0.3 - 1
    shares = [rng.betavariate(share * precision, (1 - share) * precision) for _ in range(clusters)]
    scores = [float(rng.random() < each) for each in shares for _ in range(5)]
    return scores, [cluster for cluster in range(clusters) for _ in range(5)]


def coverage(found: list[Estimate], share: float) -> float:
    return sum(each.low <= share <= each.high for each in found) / len(found)


@pytest.mark.parametrize(("share", "size"), [(0.856, 50), (0.3, 40)])
def test_intervals_of_independent_coins_cover_their_share(share, size):
    found = [estimate(coins(share, size, seed), range(size), seed) for seed in range(RUNS)]
    assert {each.method for each in found} == {"wilson"}
    assert 0.93 <= coverage(found, share) <= 0.97


def test_intervals_of_clustered_coins_cover_their_share_and_unclustered_ones_do_not():
    samples = [clustered_coins(0.7, seed) for seed in range(RUNS)]
    found = [estimate(*each, seed) for seed, each in enumerate(samples)]
    assert {each.method for each in found} <= {"cluster_bootstrap", "wilson"}
    assert 0.93 <= coverage(found, 0.7) <= 0.97
    unclustered = [estimate(scores, range(100), 0) for scores, _ in samples]
    assert coverage(unclustered, 0.7) < 0.87


def test_intervals_near_the_boundary_cover_at_least_their_share():
    found = [estimate(*clustered_coins(0.98, seed), seed) for seed in range(RUNS)]
    assert sum(each.value == 1 for each in found) > 50
    assert coverage(found, 0.98) >= 0.93


def test_a_bootstrap_of_few_documents_covers_their_mean():
    """Plain percentiles of nine documents would be about a tenth too narrow, and cover less than nine in ten."""
    rng = np.random.default_rng(0)
    found = [mean_of(ClusterSums(rng.normal(2, 1, 9), np.ones(9)), seed) for seed in range(RUNS)]
    assert {each.method for each in found} == {"cluster_bootstrap"}
    assert 0.93 <= coverage(found, 2) <= 0.97


def test_differences_of_few_samples_cover_at_least_their_share():
    """Nearly all samples are ties: a bootstrap, of which a third would be of no width, misses the difference."""
    found = []
    for seed in range(RUNS):
        own = [1 - each for each in coins(0.04, 30, seed)]
        found.append(paired_differences(own, [1.0] * 30, range(30), seed))
    assert sum(each.value == 0 for each in found) > 50
    assert coverage(found, -0.04) >= 0.93


def test_wilson_is_that_of_scipy():
    from scipy.stats import binomtest

    for successes, n in [(0, 10), (7, 10), (43, 50), (500, 500)]:
        theirs = binomtest(successes, n).proportion_ci(0.95, "wilson")
        ours = wilson(successes, n)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


scores = st.floats(0, 1) | st.sampled_from([0.0, 1.0])


@given(samples=st.lists(st.tuples(scores, st.integers(0, 9)), min_size=1, max_size=40))
def test_an_interval_holds_its_value_has_a_width_and_does_not_depend_on_the_order(samples):
    values, clusters = zip(*samples, strict=True)
    found = estimate(values, clusters, 0)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 1e-9
    assert found.value == pytest.approx(math.fsum(values) / len(values))
    assert (found.n, found.clusters) == (len(values), len(set(clusters)))
    assert estimate(values[::-1], clusters[::-1], 0) == found


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_equal_scores_of_few_documents_have_a_wide_interval(score):
    found = estimate([score] * 100, [index % 5 for index in range(100)], 0)
    assert found.method == "wilson"
    assert (found.low, found.high) == pytest.approx(
        (wilson(score * 5, 5).low, wilson(score * 5, 5).high)
    )


@pytest.mark.parametrize("scores", [[], [0.5, 1.5], [-0.1], [float("nan")]], ids=str)
def test_scores_must_be_shares(scores):
    with pytest.raises(ValueError, match=r"scores: must be in \[0, 1\]"):
        estimate(scores, range(len(scores)), 0)


def test_a_large_cluster_weighs_as_much_as_its_samples():
    found = mean_of(ClusterSums(np.array([9.0, 2.0]), np.array([3.0, 1.0])), 0)
    assert (found.value, found.n, found.clusters) == (11 / 4, 4, 2)


def test_one_document_gives_no_interval_of_an_unbounded_mean():
    found = mean_of(ClusterSums(np.array([30.0]), np.array([10.0])), 0)
    assert (found.low, found.value, found.high, found.method) == (3, 3, 3, "none")


def test_few_documents_have_the_interval_of_student():
    from scipy import stats

    values = np.array([2.9, 3.1, 3.4, 2.7])
    found = mean_of(ClusterSums(values, np.ones(4)), 0)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.method == "normal"
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


def test_paired_scores_are_compared_sample_by_sample():
    pairs = [(1.0, 0.0)] * 30 + [(1.0, 1.0)] * 50 + [(0.0, 1.0)] * 20
    found = paired("task", 4096, pairs, range(100), 0)
    assert (found.wins, found.ties, found.losses) == (30, 50, 20)
    assert found.difference.value == pytest.approx(0.1)
    error = math.sqrt((0.5 - 0.1**2) / 99)
    assert found.difference.high - found.difference.low == pytest.approx(3.92 * error, rel=0.1)
    assert found.minimum_detectable == pytest.approx(2.80 * error, rel=0.1)


def test_identical_models_have_a_difference_of_zero_with_a_width_that_falls_with_n():
    few, many = (paired("task", None, [(0.5, 0.5)] * n, range(n), 0).difference for n in (20, 2000))
    assert few.value == many.value == 0
    assert few.low < -0.1 < many.low < 0 < many.high < 0.1 < few.high


def test_a_difference_as_large_as_the_minimum_detectable_is_found_in_four_of_five_runs():
    error = 0.02
    smallest = minimum_detectable(Interval(0, -1.96 * error, 1.96 * error))
    rng = np.random.default_rng(0)
    found = np.mean(rng.normal(smallest, error, 20_000) > 1.96 * error)
    assert found == pytest.approx(0.8, abs=0.01)


def test_expected_half_widths_at_rulers_threshold():
    """Half-widths in points for 50 to 500 samples."""
    found = {n: round(100 * expected_half_width(n), 1) for n in (50, 100, 200, 500)}
    assert found == {50: 9.7, 100: 6.9, 200: 4.9, 500: 3.1}
    assert expected_half_width(200, design_effect=4) == expected_half_width(50)


def test_a_sum_of_independent_estimates_has_the_interval_of_their_squares():
    first, second = Interval(0.9, 0.8, 0.93), Interval(0.5, 0.4, 0.6)
    difference = weighted_sum([1, -1], [first, second])
    assert difference.value == pytest.approx(0.4)
    assert difference.low == pytest.approx(0.4 - math.hypot(0.1, 0.1))
    assert difference.high == pytest.approx(0.4 + math.hypot(0.03, 0.1))
    mean = mean_interval([first, second])
    assert (mean.value, mean.low) == pytest.approx((0.7, 0.7 - math.hypot(0.1, 0.1) / 2))
