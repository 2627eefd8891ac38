"""Rows as they travel: any number of them as one row of an Arrow table, in flat buffers.

Lists of tokens and pieces are not nested: each is one flat list, beside lists of how many of its
values each row has. Labels and positions are not sent; :mod:`.batch` computes them.

A user's mistake travels in place of the rows: it then reaches every rank as the one message it is,
in its turn, and not as an error of the program that carried it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from longspan.corpus.batch import Row
from longspan.errors import UserError

_PER_ROW = {"indices": "<i8", "updates": "<i8", "sources": "<i4", "lengths": "<i8", "pieces": "<i8"}
_PIECES = {"starts": "<i4", "documents": "<i8", "offsets": "<i8", "epochs": "<i4"}
_FLAT = {"tokens": "<i4"} | _PIECES


def pack(rows: Sequence[Row], error: UserError | None = None) -> pa.Table:
    """Rows, possibly of several lengths or none at all, as a table of one row.

    Args:
        rows: the rows.
        error: why there are none.
    """
    columns: dict[str, np.ndarray | list[int]] = {
        "indices": [row.index for row in rows],
        "updates": [row.update for row in rows],
        "sources": [row.source for row in rows],
        "lengths": [len(row.tokens) for row in rows],
        "pieces": [len(row.starts) for row in rows],
    }
    for name, dtype in _FLAT.items():
        columns[name] = np.concatenate([np.empty(0, dtype), *(getattr(row, name) for row in rows)])
    dtypes = _PER_ROW | _FLAT
    arrays = {name: _one_list(np.asarray(columns[name], dtype)) for name, dtype in dtypes.items()}
    return pa.table(arrays | {"error": pa.array([error and str(error)], pa.string())})


def unpack(table: pa.Table) -> list[Row]:
    """The rows that :func:`pack` was given; their arrays are views of the table's.

    Raises:
        UserError: it was given one.
    """
    assert table.num_rows == 1, f"an item of {table.num_rows} rows"
    error = table.column("error")[0].as_py()
    if error is not None:
        raise UserError(error)
    columns = {
        name: table.column(name).combine_chunks().flatten().to_numpy() for name in _PER_ROW | _FLAT
    }
    tokens = _parts(columns["tokens"], columns["lengths"])
    pieces = [_parts(columns[name], columns["pieces"]) for name in _PIECES]
    facts = [columns[name].tolist() for name in ("indices", "updates", "sources")]
    return [Row(*row) for row in zip(*facts, tokens, *pieces, strict=True)]


def _parts(values: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Views of consecutive parts of these lengths."""
    ends = np.cumsum(lengths).tolist()
    return [values[start:end] for start, end in pairwise([0, *ends])]


def _one_list(values: np.ndarray) -> pa.ListArray:
    """A column of one value, the list `values`; the numbers are not copied."""
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), pa.array(values))
