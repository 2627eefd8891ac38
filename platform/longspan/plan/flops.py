"""Model floating-point operations of training, in the two counts that are in use.

Per token of a row of S tokens, forward and backward (backward costs twice the forward):

- weights: ``6 * N`` with N all parameters (Kaplan et al. 2020, arXiv 2001.08361, section 2.1);
- attention: ``12 * layers * hidden * S`` (PaLM, arXiv 2204.02311, appendix B: scores and weighted
  values are 2 * 2 * S * hidden operations a layer forward, three times that with backward).

The sum is what Ray Train's own benchmarks report, and it counts the *full* S x S attention matrix.
A causal model uses half of it, and kernels such as FlashAttention compute only that half, so the
*causal* count takes ``6 * layers * hidden * S``. Utilisation against a peak should use the causal
count: it can't credit work that nobody does. Recomputed activations count in neither.

N holds the input embedding too, which is a lookup: for untied models the 6N term is high by
``6 * vocab * hidden`` (2 % for Llama 2 7B). It is kept for comparability with published figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts


class LengthStage(Protocol):
    """A part of a run at one row length (:class:`longspan.order.order.Stage` is one)."""

    @property
    def length(self) -> int:
        """Tokens per row."""

    @property
    def rows_per_update(self) -> int:
        """Rows in a global batch."""

    @property
    def updates(self) -> int:
        """Optimizer updates."""


@dataclass(frozen=True)
class FlopCount:
    """The same work in both counts, in floating-point operations."""

    full: float
    """The whole attention matrix, as papers and Ray's benchmarks count."""
    causal: float
    """The half of it that a causal model needs."""


def flops_per_token(facts: ModelFacts, length: int, causal: bool = True) -> float:
    """Training operations per token in a row of ``length`` tokens that is one document."""
    return 6.0 * facts.parameters + _attention_per_pair(facts, causal) * length


def document_flops(
    facts: ModelFacts, document_lengths: Iterable[int], causal: bool = True
) -> float:
    """Training operations over documents of these lengths (tokens), each attending only to itself.

    With a document mask a row's attention costs the sum of its documents' squares, which for a row
    of many short documents is a small part of the row's own square.
    """
    tokens = squares = 0
    for length in document_lengths:  # int(): numpy's would overflow when squared
        tokens += int(length)
        squares += int(length) ** 2
    return packed_flops(facts, tokens, squares, causal)


def packed_flops(facts: ModelFacts, tokens: int, squares: int, causal: bool = True) -> float:
    """The same from sums: all tokens, and the sum of the documents' squared lengths."""
    return 6.0 * facts.parameters * tokens + _attention_per_pair(facts, causal) * squares


def update_flops(
    facts: ModelFacts,
    rows: int,
    length: int,
    document_lengths: Iterable[int] | None = None,
    causal: bool = True,
) -> float:
    """Training operations of one update: ``rows`` rows of ``length`` tokens.

    ``document_lengths`` are the lengths of the pieces packed into all these rows (rows of weight
    zero left out) where a document mask keeps them apart; without them a row is one document.
    """
    if document_lengths is not None:
        return document_flops(facts, document_lengths, causal)
    return rows * length * flops_per_token(facts, length, causal)


def training_flops(facts: ModelFacts, stages: Iterable[LengthStage]) -> FlopCount:
    """Operations of a whole run, its rows counted as whole documents."""
    full = causal = 0.0
    for stage in stages:
        tokens = stage.updates * stage.rows_per_update * stage.length
        full += tokens * flops_per_token(facts, stage.length, causal=False)
        causal += tokens * flops_per_token(facts, stage.length, causal=True)
    return FlopCount(full=full, causal=causal)


def published_flops_per_token(layers: int, hidden: int, length: int) -> float:
    """Operations per token as "Effective Long-Context Scaling" counts them in its Table 10.

    ``72 * layers * hidden^2 * (1 + length / (6 * hidden))``: Narayanan et al. 2021 (arXiv
    2104.04473, section 5.1) without recomputation and without the logits. It takes a layer for
    ``12 * hidden^2`` weights and counts the full attention matrix.
    """
    return 72.0 * layers * hidden**2 * (1 + length / (6 * hidden))


def model_flops_utilization(
    flops: float, seconds: float, peak_flops: float, devices: int = 1
) -> float:
    """MFU: the share of ``devices`` peaks (operations per second each) that was used."""
    assert seconds > 0, f"seconds must be positive: {seconds=}"
    assert peak_flops > 0 and devices > 0, f"no peak to compare with: {peak_flops=}, {devices=}"
    return flops / (seconds * peak_flops * devices)


def _attention_per_pair(facts: ModelFacts, causal: bool) -> float:
    # heads * head_dim, not hidden: they differ in some models, and are equal in Llama's.
    width = facts.heads * facts.head_dim
    return (6.0 if causal else 12.0) * facts.layers * width
