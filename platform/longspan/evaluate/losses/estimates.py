"""Estimates of mean losses, with intervals that are clustered by document."""

from __future__ import annotations

import math

from longspan.evaluate.intervals import ClusterSums, mean_of
from longspan.evaluate.losses.sums import LossSums
from longspan.evaluate.results import Estimate


def mean_loss(sums: LossSums, seed: int) -> Estimate | None:
    """Return the mean loss of a single column in nats per token; None if it has no token."""
    own = sums.column(0)
    if not own.documents:
        return None
    return mean_of(ClusterSums(own.sums[:, 0], own.counts[:, 0].astype(float)), seed)


def perplexity(sums: LossSums, seed: int) -> Estimate | None:
    """Return exp of the mean loss of a single column, and of its interval's ends; None if it has no token."""
    loss = mean_loss(sums, seed)
    if loss is None:
        return None
    ends = {name: math.exp(getattr(loss, name)) for name in ("value", "low", "high")}
    return loss.model_copy(update=ends)


def relative_change(own: LossSums, reference: LossSums, seed: int) -> Estimate | None:
    """Return the change of the loss of the same tokens relative to the reference's; None if there are none.

    Both have a single column of the same documents.
    """
    change, base = own.minus(reference).column(0), reference.column(0)
    if not change.documents:
        return None
    # A mean over the reference's loss, rather than over tokens.
    found = mean_of(ClusterSums(change.sums[:, 0], base.sums[:, 0]), seed)
    return found.model_copy(update={"n": int(base.counts.sum())})
