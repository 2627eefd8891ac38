"""The record of rows as they are kept: Parquet files, one row of theirs per row of a batch."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from longspan.errors import UserError
from longspan.storage import Store
from longspan.storage.parquet import open_parquet
from longspan.stream.row import PADDING, Row

FORMAT = 1
FACTS = b"longspan"
DAMAGE = (OSError, ValueError, LookupError, TypeError, pa.ArrowException)

_PER_ROW = {
    "updates": "update",
    "indices": "index",
    "sources": "source",
    "lengths": "length",
    "crcs": "crc",
}
_SPANS = {"documents": pa.int64(), "epochs": pa.int32(), "offsets": pa.int64(), "sizes": pa.int32()}
SCHEMA = pa.schema(
    [
        ("update", pa.int64()),
        ("index", pa.int64()),
        ("source", pa.int32()),
        ("length", pa.int32()),
        ("crc", pa.uint32()),
        *((name, pa.list_(type)) for name, type in _SPANS.items()),
    ]
)


@dataclass(frozen=True)
class Facts:
    """What a part of a history says of itself."""

    start: str
    """Identity of the start of the run that wrote it; later ones sort after earlier ones."""
    first_update: int
    """Updates that were done before this start."""
    rank: int
    world_size: int
    order: str
    """Fingerprint of the data and its order."""
    packing: str
    """How documents became rows: concatenate or best_fit."""
    sources: tuple[str, ...]
    through: int = 0
    """All updates before this one that the rank has done in this start are in this part or before."""


@dataclass(frozen=True)
class Rows:
    """Rows side by side, and their spans of documents, flat; padding is no span.

    Attributes:
        updates: int64 [rows].
        indices: int64 [rows], global row numbers.
        sources: int32 [rows].
        lengths: int32 [rows], tokens per row.
        crcs: uint32 [rows], CRC-32 of the tokens.
        counts: int64 [rows], spans of each row.
        documents: int64 [spans], numbered within the source.
        epochs: int32 [spans].
        offsets: int64 [spans], the span's first token in its document.
        sizes: int32 [spans], in tokens.
    """

    updates: np.ndarray
    indices: np.ndarray
    sources: np.ndarray
    lengths: np.ndarray
    crcs: np.ndarray
    counts: np.ndarray
    documents: np.ndarray
    epochs: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def select(self, chosen: np.ndarray) -> Rows:
        """Some of the rows, in the order given (int64 [chosen]) or where true (bool [rows])."""
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        counts = self.counts[chosen]
        begins = (np.cumsum(self.counts) - self.counts)[chosen]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        spans = np.repeat(begins, counts) + within
        per_row = {name: getattr(self, name)[chosen] for name in _PER_ROW}
        per_span = {name: getattr(self, name)[spans] for name in _SPANS}
        return Rows(**per_row, counts=counts, **per_span)

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """One after another; of no parts, no rows."""
        parts = [_of_table(SCHEMA.empty_table()), *parts]
        names = list(cls.__dataclass_fields__)
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def to_bytes(rows: Sequence[tuple[int, Row]], facts: Facts) -> bytes:
    """Rows, each with the update that it was trained in, as the content of a file."""
    columns: dict[str, list] = {name: [] for name in SCHEMA.names}
    for update, row in rows:
        real = row.documents != PADDING
        sizes = np.diff(np.append(row.starts, len(row.tokens)))
        columns["update"].append(update)
        columns["index"].append(row.index)
        columns["source"].append(row.source)
        columns["length"].append(len(row.tokens))
        columns["crc"].append(zlib.crc32(np.ascontiguousarray(row.tokens, "<i4").data))
        for name, values in (
            ("documents", row.documents),
            ("epochs", row.epochs),
            ("offsets", row.offsets),
            ("sizes", sizes),
        ):
            columns[name].append(values[real])
    described = {FACTS: json.dumps({"format": FORMAT, **asdict(facts)}).encode()}
    sink = pa.BufferOutputStream()
    table = pa.table(columns, SCHEMA).replace_schema_metadata(described)
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue().to_pybytes()


def read(store: Store, path: str) -> tuple[Facts, Rows]:
    """One file of a history.

    Raises:
        UserError: it is damaged, or was written by another version.
    """
    data = store.read_bytes(path)
    try:
        file = open_parquet(pa.py_buffer(data))
        facts = json.loads((file.schema_arrow.metadata or {})[FACTS])
        if facts.pop("format") != FORMAT:
            raise UserError(f"{store.uri(path)} was written by another version of the code")
        return Facts(**facts | {"sources": tuple(facts["sources"])}), _of_table(file.read())
    except DAMAGE as error:
        raise UserError(f"{store.uri(path)} is damaged: {error}") from error


def _of_table(table: pa.Table) -> Rows:
    lists = {name: _list(table.column(name)) for name in _SPANS}
    return Rows(
        **{name: table.column(column).to_numpy() for name, column in _PER_ROW.items()},
        counts=np.diff(lists["documents"].offsets.to_numpy()).astype(np.int64),
        **{name: column.flatten().to_numpy() for name, column in lists.items()},
    )


def _list(column: pa.ChunkedArray) -> pa.ListArray:
    joined = column.combine_chunks()
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
