"""Parquet files of any origin, opened so that no code in them can run and no small file grows large.

An Arrow extension type is a name in a file's schema. A library that is imported in the process may
have registered a Python class under that name, which pyarrow then calls: while the file is opened
(`__arrow_ext_deserialize__`), and when a value becomes a Python object (`as_py`). Ray Data registers
types whose classes unpickle, so that a file can run code in any process that has imported it. Hence
the file's schema is looked at before pyarrow builds any type from it, and the answer is the same
whether or not a type is registered.

Every reader of Parquet in this package goes through :func:`open_parquet`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from longspan.storage.bounds import allowed_bytes, expands
from longspan.storage.parquet_footer import require_readable
from longspan.storage.parquet_pages import VALUE_BYTES

PLAIN_TYPES = ("arrow.bool8", "arrow.json", "arrow.uuid")
"""Extension types that are accepted: Arrow's own, in C++ and without parameters to parse."""

TAIL_BYTES = 2**16

_NAME = b"ARROW:extension:name"
_ENCODED_NAMES = tuple(base64.b64encode(_NAME[skip : skip + 18]) for skip in (0, 1, 2))
"""Some of the name in base64, for each of the three places in which it can stand to the groups of 3 bytes."""
_MESSAGE = re.compile(
    rb"/////(?:[A-Za-z0-9+/]{4})*[A-Za-z0-9+/]{3}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
)
"""A message of Arrow's IPC format, which begins with four bytes 0xff."""
_HIDDEN = b"arrow:extension:NAME"
"""As long as `_NAME`, so that it can take its place: pyarrow then builds the storage type alone."""


class RefusedColumn(ValueError):
    """A column whose type could run code when it is read.

    Attributes:
        column: the column's name, with dots within nested types.
        type: the name of the extension type.
    """

    def __init__(self, column: str, type: str) -> None:
        super().__init__(
            f"column {column!r} has the extension type {type!r}, whose reading can run code; write "
            "the column with its plain storage type, or leave it out of the file"
        )
        self.column = column
        self.type = type


def open_parquet(
    source: pa.NativeFile | pa.Buffer,
    columns: Sequence[str] | None = None,
    buffer_bytes: int = 0,
) -> pq.ParquetFile:
    """Open a Parquet file for reading, with its page checksums verified.

    Args:
        source: the file's content; it stays open.
        columns: those that will be read, with dots within nested types; None is all of them.
        buffer_bytes: read so much of a column chunk at a time, and trust nothing in the footer; 0 reads
            a chunk as a whole, of a file that was written by this package.

    Raises:
        RefusedColumn: any column, to be read or not, has an extension type other than `PLAIN_TYPES`.
        TooLarge: the columns to be read hold far more than the file's size (`bounds.allowed_bytes`).
        OSError, pa.ArrowException: it is no Parquet file, or a damaged one.
    """
    raw = pa.BufferReader(source) if isinstance(source, pa.Buffer) else source
    end = _end(raw)
    _refuse_stored(end)
    # The end alone is a file of its own, so that the footer that was looked at is the one in use.
    metadata = pq.ParquetFile(pa.BufferReader(end), arrow_extensions_enabled=False).metadata
    if buffer_bytes:
        length = int.from_bytes(end[-8:-4], "little")
        require_readable(end[-8 - length : -8], metadata)
    file = pq.ParquetFile(
        raw,
        metadata=metadata,
        page_checksum_verification=True,
        buffer_size=buffer_bytes,
        # Parquet's own logical types (JSON, UUID, geometry) stay what they are stored as.
        arrow_extensions_enabled=False,
    )
    for found in map(_extensions, file.schema_arrow):
        _refuse(found)
    _check_size(metadata, raw.size(), columns)
    return file


def _end(source: pa.NativeFile) -> bytes:
    """The file's last bytes, with all of its footer."""
    size = source.size()
    end = source.read_at(min(size, TAIL_BYTES), max(0, size - TAIL_BYTES))
    length = int.from_bytes(end[-8:-4], "little") + 8
    if len(end) < length <= size:
        end = source.read_at(length, size - length)
    return end


def _refuse_stored(end: bytes) -> None:
    """Refuse extension types in what pyarrow would build the Arrow schema from, as it stands in the footer.

    That is a message of Arrow's IPC format in base64. A decoder never skips a character, so that a
    name in it can be found without knowing where it begins.
    """
    if not any(name in end for name in _ENCODED_NAMES):
        return
    for stored in _MESSAGE.findall(end):
        message = base64.b64decode(stored)
        # The storage types alone, each with the name of its extension type beside it.
        schema = pa.ipc.read_schema(pa.py_buffer(message.replace(_NAME, _HIDDEN)))
        found = [item for field in schema for item in _extensions(field)]
        _refuse(found)
        if message.count(_NAME) <= len(found):
            end = end.replace(stored, b"")
    if any(name in end for name in _ENCODED_NAMES):
        raise pa.ArrowInvalid("its Arrow schema names extension types in an unknown way")


def _refuse(extensions: Iterable[tuple[str, str]]) -> None:
    for column, name in extensions:
        if name not in PLAIN_TYPES:
            raise RefusedColumn(column, name)


def _extensions(field: pa.Field, within: str = "") -> Iterator[tuple[str, str]]:
    """Columns and names of all extension types in a field."""
    column = f"{within}{field.name}"
    metadata = field.metadata or {}
    for key in (_NAME, _HIDDEN):
        if key in metadata:
            yield column, metadata[key].decode("utf-8", "replace")
    type = field.type
    if isinstance(type, pa.BaseExtensionType):
        yield column, type.extension_name
        type = type.storage_type
    if pa.types.is_dictionary(type):
        type = type.value_type
    if isinstance(type, pa.BaseExtensionType):
        yield column, type.extension_name
        type = type.storage_type
    for number in range(type.num_fields):
        yield from _extensions(type.field(number), f"{column}.")


def _check_size(metadata: pq.FileMetaData, stored: int, columns: Sequence[str] | None) -> None:
    """Compare what the metadata says of the columns' size with the size of the file."""
    chunks = _chunks(metadata, columns)
    size = sum(chunk.total_uncompressed_size + VALUE_BYTES * chunk.num_values for chunk in chunks)
    if size > allowed_bytes(stored):
        raise expands(f"{metadata.num_rows:,} rows of {size:,} bytes", stored)


def _chunks(
    metadata: pq.FileMetaData, columns: Sequence[str] | None
) -> Iterator[pq.ColumnChunkMetaData]:
    """The column chunks of all row groups that some columns are made of."""
    chosen = leaf_numbers(metadata, columns)
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        yield from map(row_group.column, chosen)


def leaf_numbers(metadata: pq.FileMetaData, columns: Sequence[str] | None) -> list[int]:
    """Numbers of the leaf columns that some columns are made of, as in `open_parquet`."""
    paths = (metadata.schema.column(number).path for number in range(metadata.num_columns))
    return [n for n, path in enumerate(paths) if columns is None or _is_in(path, columns)]


def _is_in(path: str, columns: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in columns)
