"""Rows as they travel: any number of them as one row of an Arrow table, in flat buffers.

Lists of tokens and pieces are not nested: each is one flat list, beside lists of how many of its
values each row has. Labels and positions are not sent; :mod:`.batch` computes them.

A user's mistake travels in place of the rows: it then reaches every rank as the one message it is,
in its turn, and not as an error of the program that carried it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from longspan.errors import UserError
from longspan.stream.row import DTYPES, Row, Rows


def pack(rows: Sequence[Row], error: UserError | None = None) -> pa.Table:
    """Rows, possibly of several lengths or none at all, as a table of one row.

    Args:
        rows: the rows.
        error: why there are none.
    """
    columns = Rows.of(rows)
    arrays = {
        name: _one_list(np.asarray(getattr(columns, name), dtype)) for name, dtype in DTYPES.items()
    }
    return pa.table(arrays | {"error": pa.array([error and str(error)], pa.string())})


def unpack(table: pa.Table) -> Rows:
    """The rows that :func:`pack` was given; their arrays are views of the table's.

    Raises:
        UserError: it was given one.
    """
    assert table.num_rows == 1, f"an item of {table.num_rows} rows"
    error = table.column("error")[0].as_py()
    if error is not None:
        raise UserError(error)
    columns = (table.column(name).combine_chunks().flatten().to_numpy() for name in DTYPES)
    return Rows(*columns)


def _one_list(values: np.ndarray) -> pa.ListArray:
    """A column of one value, the list `values`; the numbers are not copied."""
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), pa.array(values))
