"""Files of documents: Parquet objects in the store, with checksums of their pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from longspan.errors import UserError
from longspan.evaluate.documents import Document
from longspan.storage import Store
from longspan.storage.bounds import TooLarge
from longspan.storage.parquet import RefusedColumn, open_parquet

ROWS_PER_GROUP = 8
COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("corpus", pa.string()),
        ("origin", pa.string()),
        ("score", pa.float64()),
        ("text", pa.large_string()),
    ]
)


def write_documents(
    store: Store, path: str, documents: Sequence[Document], scores: Sequence[float]
) -> None:
    """Write documents with their scores (`heldout_scores`)."""
    rows = [
        vars(document) | {"score": score} for document, score in zip(documents, scores, strict=True)
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pylist(rows, schema=COLUMNS),
        sink,
        row_group_size=ROWS_PER_GROUP,
        compression="zstd",
        write_page_checksum=True,
    )
    store.write_bytes(path, sink.getvalue())


def read_documents(store: Store, path: str) -> Iterator[Document]:
    """Documents in the order in which they were written.

    Raises:
        UserError: the object is corrupt, or not what `write_documents` wrote.
        FileNotFoundError: there is none.
    """
    with store.local(path) as copy, pa.OSFile(copy.path) as source:
        try:
            file = open_parquet(source)
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group).to_pylist():
                    yield Document(row["id"], row["corpus"], row["origin"], row["text"])
        except (OSError, KeyError, RefusedColumn, TooLarge, pa.ArrowException) as error:
            why = " ".join(str(error).split())
            raise UserError(
                f"{store.uri(path)}: not a file of held-out documents, or corrupt ({why}); delete it and run again"
            ) from error
