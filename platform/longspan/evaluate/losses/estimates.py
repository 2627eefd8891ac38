"""Estimates of mean losses with intervals that are clustered by document."""

from __future__ import annotations

import numpy as np

from longspan.evaluate.losses.sums import LossSums
from longspan.evaluate.results import Estimate

RESAMPLES = 2000


def mean_loss(sums: LossSums, seed: int) -> Estimate | None:
    """Mean loss per token of one column, with a bootstrap over documents; None if there is no token."""
    own = sums.column(0)
    if not own.documents:
        return None
    value = float(own.means()[0])
    losses, counts = own.sums[:, 0], own.counts[:, 0]
    n, clusters = int(counts.sum()), len(own.documents)
    if clusters < 2:
        return Estimate(value=value, low=value, high=value, n=n, clusters=clusters, method="none")
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(clusters, np.full(clusters, 1 / clusters), RESAMPLES)
    low, high = np.quantile((weights @ losses) / (weights @ counts), (0.025, 0.975))
    return Estimate(
        value=value,
        low=float(low),
        high=float(high),
        n=n,
        clusters=clusters,
        method="cluster_bootstrap",
    )
