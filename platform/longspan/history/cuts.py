"""What packing made of the documents, as the rows on record show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longspan.history.records import Rows


@dataclass(frozen=True)
class Cuts:
    """Counts over a run; a document counts once in every epoch.

    Attributes:
        padding: tokens of the rows that are of no document.
        fitting: documents no longer than any row that they came in.
        cut: those of them that came in more than one piece.
        long: documents longer than a row.
    """

    padding: int
    fitting: int
    cut: int
    long: int


def cuts_of(rows: Rows) -> Cuts:
    """Count over some rows; a document that the last row leaves unfinished counts as it is so far."""
    padding = int(rows.lengths.sum()) - int(rows.sizes.sum())
    sources = np.repeat(rows.sources, rows.counts)
    lengths = np.repeat(rows.lengths, rows.counts)
    order = np.lexsort((rows.documents, rows.epochs, sources))
    keys = [values[order] for values in (sources, rows.epochs, rows.documents)]
    begins = np.ones(len(order), bool)
    begins[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    first = np.flatnonzero(begins)
    if not len(first):
        return Cuts(padding, 0, 0, 0)
    tokens = np.add.reduceat(rows.sizes[order].astype(np.int64), first)
    row = np.minimum.reduceat(lengths[order], first)
    pieces = np.diff(np.append(first, len(order)))
    fits = tokens <= row
    return Cuts(
        padding,
        int(np.count_nonzero(fits)),
        int(np.count_nonzero(fits & (pieces > 1))),
        int(np.count_nonzero(~fits)),
    )
