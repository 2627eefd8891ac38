"""The data mixes of the paper's ablation (arXiv 2309.16039, section 4.2), on any corpora.

- `own`: the corpora with their weights, new long data among them.
- `base`: the mix that the base model was pretrained on; corpora without a base weight are not in it.
- `long_removed`: the base mix without its long documents.
- `long_upsampled`: the base mix with its long documents sampled more often, up to a given share.

The paper says neither what counts as long nor the shares; both are fields here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Arm = Literal["own", "base", "long_removed", "long_upsampled"]


@dataclass(frozen=True)
class Part:
    """One source of rows: a corpus, or its short or its long documents.

    Attributes:
        corpus: number of the corpus.
        documents: which of them.
        weight: share of the tokens; those of all parts add up to 1.
    """

    corpus: int
    documents: Literal["all", "short", "long"]
    weight: float

    def name(self, corpus: str) -> str:
        """What the part is called, after its corpus."""
        return corpus if self.documents == "all" else f"{corpus}/{self.documents}"


def divide(
    arm: Arm, weights: Sequence[float], long_shares: Sequence[float], share: float | None = None
) -> list[Part]:
    """The sources of rows of an arm.

    Args:
        arm: which one.
        weights: of the corpora, adding up to 1; those of weight 0 are left out.
        long_shares: share of each corpus's tokens that is in long documents; `own` and `base` don't
            need it.
        share: share of the run's tokens to be in long documents, for `long_upsampled`.

    Raises:
        ValueError: there are no long documents to sample more often, or none but long ones are
            left, or long documents have that share already.
    """
    corpora = [number for number, weight in enumerate(weights) if weight]
    if arm in ("own", "base"):
        return [Part(number, "all", weights[number]) for number in corpora]
    long = {number: weights[number] * long_shares[number] for number in corpora}
    short = {number: weights[number] - long[number] for number in corpora}
    if not any(short.values()):
        raise ValueError("all documents are long")
    if arm == "long_removed":
        return _scaled("short", short, 1.0)
    assert share is not None, "long_upsampled without a share"
    natural = sum(long.values())
    if not natural:
        raise ValueError("no document is long")
    if natural > share:
        raise ValueError(f"long documents have {natural:.1%} of the tokens already")
    return sorted(
        _scaled("short", short, 1 - share) + _scaled("long", long, share),
        key=lambda part: part.corpus,
    )


def _scaled(
    documents: Literal["short", "long"], tokens: dict[int, float], share: float
) -> list[Part]:
    """Parts that have `share` of the tokens together, in proportion to what there is of each."""
    total = sum(tokens.values())
    return [
        Part(number, documents, share * amount / total)
        for number, amount in tokens.items()
        if amount > 0
    ]
