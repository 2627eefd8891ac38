"""Sums of token losses by document: what every mean, difference and interval is computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class LossSums:
    """Losses summed by document and column; columns are bands of positions or lengths of context.

    Attributes:
        documents: id of each document.
        corpora: corpus of each document.
        sums: loss in nats, float64 [documents, columns].
        counts: tokens, int64 [documents, columns].
    """

    documents: tuple[str, ...]
    corpora: tuple[str, ...]
    sums: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        shape = (len(self.documents), self.columns)
        assert self.sums.shape == self.counts.shape == shape, f"{self.sums.shape}, not {shape}"
        assert len(self.corpora) == len(self.documents), "a corpus for each document"

    @property
    def columns(self) -> int:
        """Number of columns."""
        return self.sums.shape[1]

    def of_corpus(self, corpus: str | None) -> LossSums:
        """Return the documents of a corpus, or all for None."""
        if corpus is None:
            return self
        return self._rows([own == corpus for own in self.corpora])

    def column(self, column: int) -> LossSums:
        """Return one column, of the documents that have tokens in it."""
        only = LossSums(
            self.documents,
            self.corpora,
            self.sums[:, [column]],
            self.counts[:, [column]],
        )
        return only._rows(list(only.counts[:, 0] > 0))

    def minus(self, other: LossSums) -> LossSums:
        """Return the differences to the losses of the same tokens elsewhere."""
        assert self.documents == other.documents, "other documents"
        assert np.array_equal(self.counts, other.counts), "other tokens"
        return LossSums(self.documents, self.corpora, self.sums - other.sums, self.counts)

    def means(self) -> np.ndarray:
        """Mean loss of each column's tokens, float64 [columns]; NaN where there are none.

        Sums are exactly rounded, and do not depend on the order of the documents.
        """
        totals = np.array([math.fsum(column) for column in self.sums.T])
        counts = self.counts.sum(axis=0)
        return np.divide(totals, counts, out=np.full(self.columns, np.nan), where=counts > 0)

    def _rows(self, keep: Sequence[bool]) -> LossSums:
        rows = [number for number, kept in enumerate(keep) if kept]
        return LossSums(
            tuple(self.documents[row] for row in rows),
            tuple(self.corpora[row] for row in rows),
            self.sums[rows],
            self.counts[rows],
        )


def exact_sum(losses: np.ndarray) -> float:
    """Sum of float32 losses, rounded once to float64."""
    return math.fsum(losses.tolist())
