"""Differences between two models in standard suites, on the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from longspan.evaluate.aggregate import grouped
from longspan.evaluate.intervals import paired
from longspan.evaluate.results import PairedDifference
from longspan.hashing import sampling_seed


class SuiteScore(Protocol):
    """Score of one question of a standard suite by one metric."""

    @property
    def id(self) -> str:
        """Identity of the question, the same for every model."""
        ...

    @property
    def task(self) -> str:
        """Name of the task."""
        ...

    @property
    def metric(self) -> str:
        """Name of the metric."""
        ...

    @property
    def cluster(self) -> str:
        """Identity of what the score depends on."""
        ...

    @property
    def score(self) -> float | None:
        """In [0, 1]; None if there is no reply."""
        ...


def suite_key(task: str, metric: str) -> str:
    """Return the name that a metric of a suite has in a comparison."""
    return f"{task} ({metric})"


def compare_suites(
    scores: Sequence[SuiteScore], reference: Sequence[SuiteScore], seed: int
) -> list[PairedDifference]:
    """Return differences to a reference on the same questions, by task and metric (`suite_key`).

    Metrics that are no shares have none: those with a score outside of [0, 1]. Questions that one of the two has no
    score for are left out and counted.

    Args:
        scores: of the model, of any tasks and metrics.
        reference: of the other model.
        seed: of the bootstraps.
    """
    own, other = (
        grouped(each, lambda one: suite_key(one.task, one.metric)) for each in (scores, reference)
    )
    found = (
        _difference(key, own[key], other[key], seed) for key in sorted(own.keys() & other.keys())
    )
    return [each for each in found if each is not None]


def _difference(
    key: str, own: Sequence[SuiteScore], other: Sequence[SuiteScore], seed: int
) -> PairedDifference | None:
    first, second = ({each.id: each for each in group} for group in (own, other))
    scores, clusters = [], []
    for id in sorted(first.keys() & second.keys()):
        a, b = first[id].score, second[id].score
        if a is not None and b is not None:
            scores.append((a, b))
            clusters.append(first[id].cluster)
    if not scores or not all(0 <= value <= 1 for pair in scores for value in pair):
        return None
    found = paired(key, None, scores, clusters, sampling_seed("suite", seed, key))
    return found.model_copy(update={"left_out": len(first.keys() | second.keys()) - len(scores)})
