"""Intervals of 95 % of means of samples, clustered by what the samples depend on.

Every mean is a ratio of sums over clusters, so that a cluster weighs as much as it has samples.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from longspan.evaluate.combine import LEVEL, HasInterval, Interval, Z, weighted_sum, wilson
from longspan.evaluate.results import Estimate, IntervalMethod, PairedDifference

POWER = 0.8
RESAMPLES = 2000
"""Resamples of a bootstrap: the ends of an interval vary by about 2 % of its width with the seed."""
FEW_DIFFER = 5
"""Clusters unlike all others, below which a bootstrap can't tell how many more there might be."""
FEW_CLUSTERS = 8
"""Clusters below which a bootstrap has too few different resamples."""

Range = Literal["score", "difference", "unbounded"]
"""Values that a measure can have: in [0, 1], in [-1, 1], or any."""


@dataclass(frozen=True)
class ClusterSums:
    """Sums and counts of a measure by cluster, one cluster at least.

    Attributes:
        sums: of the measure, float64 [clusters].
        counts: of samples or tokens, more than 0, float64 [clusters].
    """

    sums: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: Sequence[float], clusters: Sequence[Hashable]) -> ClusterSums:
        """Sum values by cluster, in an order that does not depend on theirs."""
        by_cluster: dict[Hashable, list[float]] = {}
        for value, cluster in zip(values, clusters, strict=True):
            by_cluster.setdefault(cluster, []).append(value)
        # Sorted, so that a bootstrap with the same seed gives the same interval for samples in any order.
        table = np.array(sorted((math.fsum(each), len(each)) for each in by_cluster.values()))
        return cls(table[:, 0], table[:, 1].astype(np.float64))

    @property
    def clusters(self) -> int:
        """Number of clusters."""
        return len(self.sums)

    @property
    def n(self) -> int:
        """Number of samples or tokens."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Mean over all samples."""
        return math.fsum(self.sums) / math.fsum(self.counts)

    @property
    def standard_error(self) -> float:
        """Standard error of the mean, robust to dependence within clusters; needs two clusters.

        Linearized variance of a ratio with the correction m / (m - 1) for m clusters (Miller, arXiv 2411.00640,
        section 2.2; Cochran, Sampling Techniques, chapter 6).
        """
        m = self.clusters
        residuals = self.sums - self.mean * self.counts
        return math.sqrt(m / (m - 1) * float(residuals @ residuals)) / float(self.counts.sum())

    @property
    def unlike(self) -> int:
        """Clusters whose mean is not the most frequent one."""
        _, frequencies = np.unique(self.sums / self.counts, return_counts=True)
        return self.clusters - int(frequencies.max())

    def effective_samples(self) -> float:
        """Number of independent samples with the same variance of the mean, for a measure in [0, 1].

        Reduced by the ratio of Student's and normal quantiles for few clusters (Dean and Pagano 2015). The number of
        clusters if the variance can't be known, as none is unlike the others.
        """
        p, m = self.mean, self.clusters
        if m < 2 or not self.unlike:
            return float(m)
        effective = p * (1 - p) / self.standard_error**2 * (Z / student_t(m - 1)) ** 2
        return min(max(effective, 1.0), float(self.n))


def estimate(scores: Sequence[float], clusters: Sequence[Hashable], seed: int) -> Estimate:
    """Return the mean of scores in [0, 1] with its interval.

    Wilson's interval for scores of 0 and 1 of which each has a cluster of its own; for all others, see `mean_of`.

    Args:
        scores: one at least.
        clusters: of each score: the document that it depends on.
        seed: of the bootstrap.

    Raises:
        ValueError: there are no scores, or one is outside of [0, 1].
    """
    if not scores or not (min(scores) >= 0 and max(scores) <= 1):
        raise ValueError(f"scores: must be in [0, 1], and one at least, but are {list(scores)[:5]}")
    sums = ClusterSums.of(scores, clusters)
    if sums.clusters == len(scores) and set(scores) <= {0, 1}:
        return _of(sums, wilson(sum(scores), len(scores)), "wilson")
    return mean_of(sums, seed, "score")


def mean_of(sums: ClusterSums, seed: int, values: Range = "unbounded") -> Estimate:
    """Return a mean over clusters with its interval.

    In general by a bootstrap over clusters. Where few clusters are unlike the others, a bootstrap would be too narrow,
    or have no width at all: then Wilson's interval with an effective number of samples. For few clusters of an
    unbounded measure, Student's t; for one cluster, none (method "none", low = value = high).

    Args:
        sums: by cluster.
        seed: of the bootstrap.
        values: that the measure can have.
    """
    if values != "unbounded" and sums.unlike < FEW_DIFFER:
        return _of(sums, _near_constant(sums, values), "wilson")
    if sums.clusters < 2:
        return _of(sums, Interval(sums.mean, sums.mean, sums.mean), "none")
    if sums.clusters < FEW_CLUSTERS:
        return _of(sums, _student(sums, values), "normal")
    return _of(sums, _bootstrap(sums, seed), "cluster_bootstrap")


def paired_differences(
    scores: Sequence[float],
    reference: Sequence[float],
    clusters: Sequence[Hashable],
    seed: int,
) -> Estimate:
    """Return the mean difference of scores in [0, 1] of the same samples, with its interval (`mean_of`)."""
    differences = [own - other for own, other in zip(scores, reference, strict=True)]
    return mean_of(ClusterSums.of(differences, clusters), seed, "difference")


def paired(
    task: str,
    length: int | None,
    scores: Sequence[tuple[float, float]],
    clusters: Sequence[Hashable],
    seed: int,
) -> PairedDifference:
    """Compare two models on the same samples.

    Args:
        task: name.
        length: of the samples; None for several.
        scores: of the model and of the reference, one sample at least.
        clusters: of each sample.
        seed: of the bootstrap.
    """
    own, reference = zip(*scores, strict=True)
    difference = paired_differences(own, reference, clusters, seed)
    return PairedDifference(
        task=task,
        length=length,
        difference=difference,
        wins=sum(a > b for a, b in scores),
        ties=sum(a == b for a, b in scores),
        losses=sum(a < b for a, b in scores),
        minimum_detectable=minimum_detectable(difference),
    )


def minimum_detectable(difference: HasInterval) -> float:
    """Return the smallest true difference that a two-sided test at 5 % would find with a power of 80 %.

    (z_0.975 + z_0.8) standard errors (Miller, arXiv 2411.00640, section 5), of the width of the interval, which
    accounts for clusters.
    """
    standard_error = (difference.high - difference.low) / (2 * Z)
    return (Z + NormalDist().inv_cdf(POWER)) * standard_error


def student_t(degrees: int) -> float:
    """Return the quantile of Student's t for an interval of 95 %."""
    from scipy.stats import t

    return float(t.ppf(0.5 + LEVEL / 2, degrees))


def _near_constant(sums: ClusterSums, values: Range) -> Interval:
    """Wilson's interval with effective numbers of samples; of a difference, for its positive and negative parts."""
    positive = ClusterSums(np.maximum(sums.sums, 0), sums.counts)
    if values == "score":
        return _wilson(positive)
    negative = ClusterSums(np.maximum(-sums.sums, 0), sums.counts)
    return weighted_sum([1, -1], [_wilson(positive), _wilson(negative)])


def _wilson(sums: ClusterSums) -> Interval:
    n = sums.effective_samples()
    return wilson(sums.mean * n, n)


def _student(sums: ClusterSums, values: Range) -> Interval:
    half = student_t(sums.clusters - 1) * sums.standard_error
    lowest, highest = {"score": (0.0, 1.0), "difference": (-1.0, 1.0)}.get(
        values, (-math.inf, math.inf)
    )
    return Interval(sums.mean, max(lowest, sums.mean - half), min(highest, sums.mean + half))


def bootstrap_tail(clusters: int) -> float:
    """Return the share of resamples beyond each end of an interval of 95 %: less than 0.025, for few clusters.

    The expanded percentile interval: percentiles are further out by as much as Student's interval is wider than a
    normal one with the uncorrected variance (Hesterberg, arXiv 1411.5279).
    """
    return NormalDist().cdf(-math.sqrt(clusters / (clusters - 1)) * student_t(clusters - 1))


def _bootstrap(sums: ClusterSums, seed: int) -> Interval:
    from scipy.stats import bootstrap

    ends = bootstrap(
        (sums.sums, sums.counts),
        lambda sums, counts, axis: sums.sum(axis=axis) / counts.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, 1_000_000 // sums.clusters),
        confidence_level=1 - 2 * bootstrap_tail(sums.clusters),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(sums.mean, float(ends.low), float(ends.high))


def _of(sums: ClusterSums, interval: Interval, method: IntervalMethod) -> Estimate:
    # The mean may be outside by a rounding error where an end is the mean itself.
    return Estimate(
        value=sums.mean,
        low=min(interval.low, sums.mean),
        high=max(interval.high, sums.mean),
        n=sums.n,
        clusters=sums.clusters,
        method=method,
    )
