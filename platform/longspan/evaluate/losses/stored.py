"""Losses by context in the store, as sums by document: `losses.parquet`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from longspan.evaluate.losses.measure import LossesByContext
from longspan.evaluate.losses.sums import LossSums
from longspan.generate.tables import each_row, write_rows
from longspan.storage import Store

CONTEXT_LOSSES = "losses.parquet"
"""Name of the object in the folder of an evaluation."""
SCHEMA = pa.schema(
    [
        ("document", pa.string()),
        ("corpus", pa.string()),
        ("context", pa.int64()),
        ("loss", pa.float64()),
        ("tokens", pa.int64()),
    ]
)
"""A row for each document and length of context: the sum of the losses of its targets in nats, and their number."""


@dataclass(frozen=True, eq=False)
class StoredLosses:
    """Losses by context as they were written; `LossesByContext`.

    Attributes:
        by_context: [documents, contexts].
        contexts: tokens, ascending.
    """

    by_context: LossSums
    contexts: tuple[int, ...]


def write_context_losses(store: Store, folder: str, losses: LossesByContext) -> None:
    """Write the losses of every document at every length of context."""
    by_context = losses.by_context
    rows = [
        {
            "document": document,
            "corpus": corpus,
            "context": context,
            "loss": float(by_context.sums[row, column]),
            "tokens": int(by_context.counts[row, column]),
        }
        for row, (document, corpus) in enumerate(
            zip(by_context.documents, by_context.corpora, strict=True)
        )
        for column, context in enumerate(losses.contexts)
    ]
    write_rows(store, f"{folder}/{CONTEXT_LOSSES}", rows, SCHEMA)


def read_context_losses(store: Store, path: str) -> StoredLosses:
    """Return what `write_context_losses` wrote.

    Raises:
        FileNotFoundError: there is no such object.
        UserError, KeyError, ValueError, pyarrow.ArrowException: the object is not what was written.
    """
    rows = list(each_row(store, path))
    corpora = {row["document"]: row["corpus"] for row in rows}
    contexts = tuple(sorted({row["context"] for row in rows}))
    shape = (len(corpora), len(contexts))
    sums = np.array([row["loss"] for row in rows], np.float64).reshape(shape)
    counts = np.array([row["tokens"] for row in rows], np.int64).reshape(shape)
    by_context = LossSums(tuple(corpora), tuple(corpora.values()), sums, counts)
    return StoredLosses(by_context, contexts)
