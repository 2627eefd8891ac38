"""Parquet objects in the store, each written and read whole, with checksums of their pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from longspan.errors import UserError
from longspan.storage import Store
from longspan.storage.bounds import TooLarge
from longspan.storage.parquet import RefusedColumn, open_parquet

SPAN = pa.struct(
    [
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("first_token", pa.int64()),
        ("end_token", pa.int64()),
    ]
)
"""A part of a document: its characters from `start` up to `end`, its tokens from `first_token` up to `end_token`."""
CHUNK = pa.struct(
    [
        ("id", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("first_token", pa.int64()),
        ("end_token", pa.int64()),
    ]
)
DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),
        ("corpus", pa.string()),
        ("object", pa.string()),
        ("number", pa.int64()),
        ("tokens", pa.int64()),
        ("text", pa.large_string()),
        ("chunks", pa.list_(CHUNK)),
    ]
)
"""Documents that may be asked about; `number` counts an object's documents, tokens are the generator's."""

_OUTCOME = [
    ("id", pa.string()),
    ("reply", pa.large_string()),
    ("prompt_tokens", pa.int64()),
    ("reply_tokens", pa.int64()),
    ("problem", pa.string()),
]
REPLIES = pa.schema(
    [
        *_OUTCOME,
        ("chunk", pa.string()),
        ("style", pa.string()),
        ("seed", pa.int64()),
        ("question", pa.large_string()),
        ("answer", pa.large_string()),
        ("grounding", pa.float64()),
    ]
)
"""What became of each request for a question; `problem` is "" where there is a question and an answer."""
VERDICTS = pa.schema(
    [
        *_OUTCOME,
        ("answerable", pa.bool_()),
        ("correct", pa.bool_()),
        ("supported", pa.bool_()),
        ("score", pa.int64()),
    ]
)
"""What became of each request for a verdict; its id is that of the question."""

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
EXAMPLES = pa.schema(
    [
        ("id", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("question", pa.large_string()),
        ("tokens", pa.int64()),
        ("document", pa.string()),
        ("corpus", pa.string()),
        ("object", pa.string()),
        ("number", pa.int64()),
        ("document_tokens", pa.int64()),
        ("kept", SPAN),
        ("chunk", pa.string()),
        ("chunk_span", SPAN),
        ("chunk_at", pa.int64()),
        ("position", pa.float64()),
        ("style", pa.string()),
        ("generator", pa.string()),
        ("prompts", pa.string()),
        ("seed", pa.int64()),
        ("grounding", pa.float64()),
        ("answerable", pa.bool_()),
        ("correct", pa.bool_()),
        ("supported", pa.bool_()),
        ("score", pa.int64()),
    ]
)
"""Training examples; docs/self_instruct.md says what each column is."""


def write_rows(
    store: Store, path: str, rows: Sequence[dict[str, Any]], schema: pa.Schema, group: int = 1024
) -> None:
    """Write rows as one object, in row groups of `group`."""
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(list(rows), schema=schema)
    pq.write_table(table, sink, row_group_size=group, compression="zstd", write_page_checksum=True)
    store.write_bytes(path, sink.getvalue())


def read_table(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """An object as a table.

    Raises:
        UserError: it is not what `write_rows` wrote.
    """
    with _opened(store, path, columns) as file:
        return file.read(columns=list(columns) if columns else None)


def each_row(store: Store, path: str) -> Iterable[dict[str, Any]]:
    """An object's rows, a row group in memory at a time.

    Raises:
        UserError: it is not what `write_rows` wrote.
    """
    with _opened(store, path) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group).to_pylist()


@contextmanager
def _opened(
    store: Store, path: str, columns: Sequence[str] | None = None
) -> Iterator[pq.ParquetFile]:
    with store.local(path) as copy, pa.OSFile(copy.path) as source:
        try:
            file = open_parquet(source, columns)
        except (RefusedColumn, TooLarge) as error:
            raise UserError(
                f"{store.uri(path)}: not written by this job: {error}; delete it and run the job again"
            ) from None
        yield file
