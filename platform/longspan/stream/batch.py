"""From rows to what one rank computes on: tokens, shifted labels, positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longspan.shards.loss_mask import unmarked
from longspan.stream.row import PADDING, Row, Rows

NOT_COUNTED = -100


@dataclass(frozen=True)
class Batch:
    """One rank's rows of one update (k rows of S tokens); whole ones, also where workers share them."""

    update: int
    length: int
    tokens: np.ndarray
    """int32 [k, S]."""
    labels: np.ndarray
    """int32 [k, S]: the token after each one; -100 where none is counted."""
    positions: np.ndarray
    """int32 [k, S]."""
    sources: np.ndarray
    """int32 [k]."""
    indices: np.ndarray
    """int64 [k]: global row numbers; -1 is a row of weight zero."""
    rows: Sequence[Row] = ()
    """What the rows that count are made of, for the record."""
    weights: np.ndarray | None = None
    """float32 [k, S]: of each label in the loss; None where all that count count the same."""


@dataclass(frozen=True)
class TokenWeights:
    """Weights of tokens in the loss: 1 in an answer, 0 in an excluded one, else the weight of the source.

    Both are told by their marks (:mod:`longspan.shards.loss_mask`).
    """

    others: tuple[float, ...]
    """Weight of tokens of no answer, by source, in [0, 1]: 1 for texts."""
    per_sequence: bool = False
    """Whether every document counts the same, however many tokens it has (LongAlign, arXiv
    2401.18058, section 3.2): its tokens' weights are divided by their sum."""


def collate(
    update: int,
    rows: Sequence[Row],
    num_rows: int,
    length: int,
    document_mask: bool,
    weights: TokenWeights | None = None,
) -> Batch:
    """Stack the rows of an update and complete them to `num_rows` with rows of weight zero.

    With the document mask, positions restart at every piece, which attention turns into a
    block-diagonal mask, and the last token of a piece has no label. Without it the row is one text.
    Padding, which ends a row, is never a label.

    Args:
        update: the update that all the rows are of.
        rows: at most `num_rows` of them.
        num_rows: k, the rows of the batch.
        length: S, the tokens of each row.
        document_mask: whether documents are kept apart.
        weights: what tokens count; None is all the same.
    """
    assert len(rows) <= num_rows, f"{len(rows)} rows for a batch of {num_rows}"
    rows, real = Rows.of(rows), len(rows)
    wrong = rows.updates != update
    assert not wrong.any(), f"rows of updates {np.unique(rows.updates).tolist()} in {update}"
    wrong = rows.lengths != length
    assert not wrong.any(), f"row {rows.indices[wrong][0]}: {rows.lengths[wrong][0]}, not {length}"
    tokens = np.zeros((num_rows, length), np.int32)
    labels = np.full((num_rows, length), NOT_COUNTED, np.int32)
    sources = np.zeros(num_rows, np.int32)
    indices = np.full(num_rows, -1, np.int64)
    tokens[:real] = rows.tokens.reshape(real, length)
    marks = None
    if weights:
        tokens, *marks = unmarked(tokens)
    labels[:real, :-1] = tokens[:real, 1:]
    sources[:real] = rows.sources
    indices[:real] = rows.indices
    begins = np.arange(num_rows, dtype=np.int32) * np.int32(length)
    starts = begins
    if document_mask:
        pieces = rows.starts + np.repeat(begins[:real], rows.pieces)
        starts = np.concatenate([pieces, begins[real:]])
    # The label before a row's first token is another row's last, which never counts.
    labels.reshape(-1)[starts[1:] - 1] = NOT_COUNTED
    last = np.cumsum(rows.pieces) - 1
    for number in np.flatnonzero(rows.documents[last] == PADDING).tolist():
        labels[number, max(rows.starts[last[number]] - 1, 0) :] = NOT_COUNTED
    positions = np.repeat(starts, np.diff(starts, append=tokens.size))
    np.subtract(np.arange(tokens.size, dtype=np.int32), positions, out=positions)
    positions = positions.reshape(tokens.shape)
    of_labels = None
    if weights and marks:
        of_labels = _label_weights(weights, marks, sources, labels, starts)
        labels[of_labels == 0] = NOT_COUNTED
    return Batch(update, length, tokens, labels, positions, sources, indices, rows, of_labels)


def _label_weights(
    weights: TokenWeights,
    marks: Sequence[np.ndarray],
    sources: np.ndarray,
    labels: np.ndarray,
    starts: np.ndarray,
) -> np.ndarray:
    """Weight of each label in the loss, float32 [k, S].

    Args:
        weights: what tokens count.
        marks: answers, and what is excluded, bool [k, S] each.
        sources: of the rows, int32 [k].
        labels: int32 [k, S].
        starts: where pieces begin in all rows together.
    """
    answers, excluded = marks
    others = np.array(weights.others, np.float32)[sources]
    found = np.zeros(labels.shape, np.float32)
    # A label is the token after it.
    found[:, :-1] = np.where(answers[:, 1:], np.float32(1), others[:, None])
    found[:, :-1][excluded[:, 1:]] = 0
    found[labels == NOT_COUNTED] = 0
    if weights.per_sequence:
        sums = np.add.reduceat(found.reshape(-1), starts, dtype=np.float64)
        shares = np.divide(1.0, sums, out=np.zeros_like(sums), where=sums > 0)
        sizes = np.diff(starts, append=found.size)
        found *= np.repeat(shares, sizes).reshape(found.shape).astype(np.float32)
    return found


def rank_share(rows_per_update: int, rank: int, world_size: int) -> tuple[range, int]:
    """Which rows of a global batch a rank computes.

    Ranks get contiguous ranges of ceil(rows / ranks); the last ones may get fewer, or none.

    Returns:
        The rows' numbers in the global batch, and how many rows the rank's batch has with padding.
    """
    share = -(-rows_per_update // world_size)
    first = min(rank * share, rows_per_update)
    return range(first, min(first + share, rows_per_update)), share
