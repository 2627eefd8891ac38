"""Measures of published suites: SCROLLS and ZeroSCROLLS, L-Eval, HELMET's re-ranking, and BOLD."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

PARTLY_RIGHT = 0.25
"""L-Eval's score of a choice that is incomplete, but without a wrong letter."""


@dataclass(frozen=True)
class Rouge:
    """ROUGE F of one reply, or means of many, each in [0, 1]."""

    rouge_1: float
    rouge_2: float
    rouge_l: float

    @property
    def geometric_mean(self) -> float:
        """Geometric mean of the three; 0 if one of them is."""
        return math.cbrt(self.rouge_1 * self.rouge_2 * self.rouge_l)


def rouge(reply: str, references: Sequence[str]) -> Rouge:
    """ROUGE-1, -2, and -L of a reply, each with its best reference: `rouge_score`, without stemming (SCROLLS).

    Words of other scripts than Latin are not counted, as in the published numbers.
    """
    best = _rouge_scorer().score_multi(list(references), reply)
    return Rouge(*(float(best[name].fmeasure) for name in ("rouge1", "rouge2", "rougeL")))


@cache
def _rouge_scorer() -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)


def rouge_geo_of_means(replies: Sequence[Rouge]) -> float:
    """Geometric mean of the three corpus means: ROUGE-geo as SCROLLS' code computes it."""
    means = np.mean([[each.rouge_1, each.rouge_2, each.rouge_l] for each in replies], axis=0)
    return Rouge(*map(float, means)).geometric_mean


def rouge_geo_per_reply(replies: Sequence[Rouge]) -> float:
    """Mean over replies of their geometric means: ROUGE-geo as ZeroSCROLLS defines it."""
    return float(np.mean([each.geometric_mean for each in replies]))


def exponential_similarity(reply: str, reference: str) -> float:
    """ES: 2^(-10 |p - r|) for the first percentages p of the reply and r of the reference, as shares.

    0 if the reply has none (ZeroSCROLLS, section 3.3: SpaceDigest).

    Raises:
        ValueError: the reference has no percentage.
    """
    right = _first_percentage(reference)
    if right is None:
        raise ValueError(f"the reference has no percentage: {reference!r}")
    given = _first_percentage(reply)
    return 0.0 if given is None else 2.0 ** (-10.0 * abs(given - right))


def _first_percentage(text: str) -> float | None:
    found = re.search(r"(\d+(?:\.\d+)?)\s*%", text)
    return float(found.group(1)) / 100 if found else None


def concordance(reply: str, reference: Sequence[int]) -> float:
    """C-index: share of pairs that a ranking has in the right order (ZeroSCROLLS, section 3.3: BookSumSort).

    Args:
        reply: numbers separated by commas or blanks; all other characters are ignored. 0 if they are not a
            permutation of the reference.
        reference: at least two different numbers in the right order.
    """
    given = [int(number) for number in re.sub(r"[^\d,\s]", "", reply).replace(",", " ").split()]
    if sorted(given) != sorted(reference):
        return 0.0
    place = {number: at for at, number in enumerate(given)}
    pairs = list(combinations(reference, 2))
    return sum(place[first] < place[second] for first, second in pairs) / len(pairs)


def ndcg(ranking: Sequence[str], relevance: Mapping[str, float], cutoff: int = 10) -> float:
    """NDCG with linear gains: sum of relevance / log2(1 + rank), over the same for the best ranking.

    Linear gains are those of `trec_eval`, which HELMET uses (Järvelin and Kekäläinen 2002).

    Args:
        ranking: ids, best first. Repeated ids count at their first place only; unknown ones have no relevance.
        relevance: of all ids, at least 0, one of them more.
        cutoff: ranks that count.
    """
    ranked = [relevance.get(each, 0.0) for each in dict.fromkeys(ranking)]
    best = sorted(relevance.values(), reverse=True)
    return _discounted(ranked[:cutoff]) / _discounted(best[:cutoff])


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def multi_select(reply: str, reference: str) -> float:
    """Score of a question with several right letters: 1 for all, 0.25 for some and none wrong (L-Eval: Coursera).

    Args:
        reply: its leading capital letters are the choice, such as "AC", "A, C" or "A and C".
        reference: right letters, such as "AC".
    """
    given, right = _letters(reply), _letters(reference)
    if given == right:
        return 1.0
    return PARTLY_RIGHT if given and given < right else 0.0


def _letters(text: str) -> frozenset[str]:
    """Letters of the first run of single or joined capitals A to H; not of I, which is a word."""
    chosen = re.search(r"\b[A-H]+\b(?:\s*(?:,|;|/|&|and)?\s*\b[A-H]+\b)*", text)
    return frozenset(re.sub(r"[^A-H]", "", chosen.group())) if chosen else frozenset()


def choice_letter(reply: str, reference: str) -> float:
    """Whether the first letter A to D that stands by itself is the right one (ZeroSCROLLS: QuALITY)."""
    found = re.search(r"\b[A-D]\b", reply)
    return float(found is not None and found.group() == reference.strip())


def vader_mean(texts: Sequence[str]) -> float:
    """Mean VADER compound sentiment, in [-1, 1]: the paper's measure of BOLD (appendix, table 12)."""
    analyzer = _vader()
    return float(np.mean([analyzer.polarity_scores(text)["compound"] for text in texts]))


@cache
def _vader() -> SentimentIntensityAnalyzer:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
