"""Votes with their key: win rate of the first model with a 95 % bootstrap interval over examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from longspan.config.section import Section
from longspan.errors import UserError
from longspan.evaluate.intervals import ClusterSums, mean_of
from longspan.evaluate.preference.blind import Key
from longspan.evaluate.results import Estimate
from longspan.hashing import sampling_seed

Choice = Literal["a", "b", "tie"]
VOTES_VERSION: Literal[1] = 1


class Votes(Section):
    """Votes of one rater, as the page saves them."""

    schema_version: Literal[1] = Field(VOTES_VERSION)
    set: str
    """Identity of the pairs."""
    rater: str = Field(min_length=1)
    votes: dict[str, Choice]
    """By the id of the pair: which of the replies, as shown, is better."""


class Preference(Section):
    """How often the first model's reply was preferred to the second's."""

    models: tuple[str, str]
    win_rate: Estimate
    """Share of examples that the first model won, ties counted as half."""
    win: Estimate
    tie: Estimate
    loss: Estimate
    raters: int
    votes: int
    agreement: float | None
    """Share of pairs of raters that cast the same vote on the same example; None where no two did."""


def preference(key: Key, ballots: Sequence[Votes], seed: int = 0) -> Preference:
    """Count votes.

    An example's outcome is the mean over its raters, so that one with more raters weighs no more than others;
    the intervals are of a bootstrap over examples (paper, Figure 3).

    Args:
        key: of the pairs.
        ballots: votes of each rater.
        seed: of the bootstrap.

    Raises:
        UserError: votes are on other pairs, a rater is there twice, or there are no votes.
    """
    _require_fitting(key, ballots)
    outcomes: dict[str, list[float]] = defaultdict(list)
    for ballot in ballots:
        for id, choice in ballot.votes.items():
            outcomes[id].append(_outcome(choice, key.examples[id].is_swapped))
    if not outcomes:
        raise UserError("votes: there are none; vote on at least one example")
    examples = [np.array(outcomes[id]) for id in sorted(outcomes)]

    def share(name: str, values: Sequence[float]) -> Estimate:
        sums = ClusterSums(np.array(values), np.ones(len(values)))
        return mean_of(sums, sampling_seed("preference", name, seed), "score")

    return Preference(
        models=key.models,
        win_rate=share("win rate", [float(each.mean()) for each in examples]),
        win=share("win", [float((each == 1).mean()) for each in examples]),
        tie=share("tie", [float((each == 0.5).mean()) for each in examples]),
        loss=share("loss", [float((each == 0).mean()) for each in examples]),
        raters=len(ballots),
        votes=sum(map(len, outcomes.values())),
        agreement=_agreement(examples),
    )


def _outcome(choice: Choice, is_swapped: bool) -> float:
    """1 if the first model won, 0 if the second did, 0.5 for a tie."""
    if choice == "tie":
        return 0.5
    return float((choice == "a") != is_swapped)


def _agreement(examples: Sequence[np.ndarray]) -> float | None:
    same = pairs = 0
    for each in examples:
        counts = np.unique(each, return_counts=True)[1]
        same += int((counts * (counts - 1)).sum())
        pairs += len(each) * (len(each) - 1)
    return same / pairs if pairs else None


def _require_fitting(key: Key, ballots: Sequence[Votes]) -> None:
    raters: set[str] = set()
    for ballot in ballots:
        if ballot.set != key.set or not set(ballot.votes) <= set(key.examples):
            raise UserError(
                f"votes of {ballot.rater}: are on other pairs than this key names; give the key that was written "
                "with their page"
            )
        if ballot.rater in raters:
            raise UserError(
                f"votes of {ballot.rater}: are there twice; a later file of the same rater has the earlier votes "
                "too: give that one alone, or change the name in one of them"
            )
        raters.add(ballot.rater)
