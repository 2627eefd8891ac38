"""From rows to what one rank computes on: tokens, shifted labels, positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NOT_COUNTED = -100
PADDING = -1
"""In the place of a document's number, for tokens that complete a row and are of none."""


@dataclass(frozen=True)
class Row:
    """One row of exactly S tokens, packed from documents or pieces of documents."""

    index: int
    """Global row number."""
    update: int
    source: int
    tokens: np.ndarray
    """int32 [S]."""
    starts: np.ndarray
    """int32 [pieces]: where each piece begins in the row; the first is 0."""
    documents: np.ndarray
    """int64 [pieces]: the piece's document, numbered within its source; PADDING is no document."""
    offsets: np.ndarray
    """int64 [pieces]: the piece's first token, counted in its document."""
    epochs: np.ndarray
    """int32 [pieces]: the epoch of its source that the piece belongs to, from 0."""


@dataclass(frozen=True)
class Batch:
    """One rank's rows of one update (k rows of S tokens)."""

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
    rows: tuple[Row, ...] = ()
    """What the rows that count are made of, for the record."""


def collate(
    update: int, rows: Sequence[Row], num_rows: int, length: int, document_mask: bool
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
    """
    assert len(rows) <= num_rows, f"{len(rows)} rows for a batch of {num_rows}"
    updates = [row.update for row in rows]
    assert all(found == update for found in updates), f"rows of updates {updates} in {update}"
    for row in rows:
        assert row.tokens.shape == (length,), f"row {row.index}: {row.tokens.shape}, not {length}"
    real = len(rows)
    tokens = np.zeros((num_rows, length), np.int32)
    labels = np.full((num_rows, length), NOT_COUNTED, np.int32)
    sources = np.zeros(num_rows, np.int32)
    indices = np.full(num_rows, -1, np.int64)
    # Of all rows at once: a call of numpy per row would cost more than what it does.
    starts = np.arange(num_rows, dtype=np.int32) * np.int32(length)
    if rows:
        np.concatenate([row.tokens for row in rows], out=tokens[:real].reshape(-1))
        labels[:real, :-1] = tokens[:real, 1:]
        sources[:real] = [row.source for row in rows]
        indices[:real] = [row.index for row in rows]
        if document_mask:
            pieces = np.concatenate([row.starts for row in rows])
            pieces += np.repeat(starts[:real], [len(row.starts) for row in rows])
            starts = np.concatenate([pieces, starts[real:]])
    # The label before a row's first token is another row's last, which never counts.
    labels.reshape(-1)[starts[1:] - 1] = NOT_COUNTED
    for number, row in enumerate(rows):
        if row.documents[-1] == PADDING:
            labels[number, max(row.starts[-1] - 1, 0) :] = NOT_COUNTED
    positions = np.repeat(starts, np.diff(starts, append=tokens.size))
    np.subtract(np.arange(tokens.size, dtype=np.int32), positions, out=positions)
    positions = positions.reshape(tokens.shape)
    return Batch(update, length, tokens, labels, positions, sources, indices, tuple(rows))


def rank_share(rows_per_update: int, rank: int, world_size: int) -> tuple[range, int]:
    """Which rows of a global batch a rank computes.

    Ranks get contiguous ranges of ceil(rows / ranks); the last ones may get fewer, or none.

    Returns:
        The rows' numbers in the global batch, and how many rows the rank's batch has with padding.
    """
    share = -(-rows_per_update // world_size)
    first = min(rank * share, rows_per_update)
    return range(first, min(first + share, rows_per_update)), share
