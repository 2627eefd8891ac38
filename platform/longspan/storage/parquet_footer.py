"""Footers of Parquet files that pyarrow cannot refuse: it ends the process.

`RowGroupMetaData.column` has no way to raise what C++ raises when it reads a column chunk's metadata. So
the conditions are looked for before.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from longspan.storage.thrift import Struct, UnknownLayout, read_struct

CODECS = range(8)
"""Numbers of compression codecs in the format."""


def require_readable(footer: bytes, metadata: pq.FileMetaData) -> None:
    """Refuse a footer whose column chunks pyarrow cannot describe.

    Args:
        footer: as it is stored.
        metadata: what pyarrow read of it.

    Raises:
        pa.ArrowInvalid: a row group lacks columns, a column is encrypted, or its statistics contradict
            the schema.
    """
    try:
        found, _ = read_struct(footer)
    except (IndexError, UnknownLayout) as error:
        raise pa.ArrowInvalid(f"its footer is damaged, or of an unknown version: {error}") from None
    columns = [metadata.schema.column(number) for number in range(metadata.num_columns)]
    groups = found.get(4)
    if not isinstance(groups, list) or len(groups) != metadata.num_row_groups:
        raise pa.ArrowInvalid("its footer has another number of row groups than it states")
    for number, group in enumerate(groups):
        chunks = group.get(1) if isinstance(group, dict) else None
        if not isinstance(chunks, list) or len(chunks) != len(columns):
            raise pa.ArrowInvalid(
                f"row group {number} has not the schema's {len(columns):,} columns"
            )
        for chunk, column in zip(chunks, columns, strict=True):
            if problem := _problem(chunk, column):
                raise pa.ArrowInvalid(f"row group {number}, column {column.path!r}: {problem}")


def _problem(chunk: Any, column: pq.ColumnSchema) -> str | None:
    if not isinstance(chunk, dict) or not isinstance(chunk.get(3), dict):
        return "it has no metadata"
    if 8 in chunk:
        return "it is encrypted"
    if chunk[3].get(4) not in CODECS:
        return f"it has an unknown compression ({chunk[3].get(4)})"
    sizes: Struct = chunk[3].get(16) or {}
    if not isinstance(sizes, dict):
        return "its statistics of sizes are none"
    for field, most in ((2, column.max_repetition_level), (3, column.max_definition_level)):
        levels = sizes.get(field) or []
        if not isinstance(levels, list) or (levels and len(levels) != most + 1):
            return f"its histogram of levels has not {most + 1} entries"
    if 1 in sizes and column.physical_type != "BYTE_ARRAY":
        return "it states a size of texts, but has none"
    return None
