"""Raw corpora: documents out of Parquet, JSON lines and plain text, however large the file.

Every format is read as a stream. What cannot be read comes out of the stream as a `BadInput` in
its place, so that a caller may stop at it or count it and go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import pyarrow as pa

from longspan.corpus import chat, jsonl, parquet, text
from longspan.corpus.bad_input import BadInput
from longspan.corpus.bounds import Document, within_bounds
from longspan.corpus.compressed import Compression, decompressed
from longspan.corpus.filters import Condition, Filter, LeftOut
from longspan.corpus.format import extension_format, read_extension
from longspan.corpus.repository import RepositoryRule, grouped
from longspan.corpus.wanted import File, RowSelector
from longspan.errors import UserError
from longspan.storage import LocalCopy, Store
from longspan.storage.bounds import Bounded, Readable

SUFFIXES = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
}
_TEXT_SUFFIXES = tuple(suffix for suffix, format in SUFFIXES.items() if format == "text")
TEXTS = ("text", "text_blocks")
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}

__all__ = ["BadInput", "SourceSpec", "documents", "format_of", "read"]


@dataclass(frozen=True)
class SourceSpec:
    """One source of documents.

    Attributes:
        name: names the source's folder of shards.
        patterns: what `Store.list` takes.
        format: of all the source's objects; "auto" goes by each object's name, and takes a text as
            one document ("text_blocks" takes each block between blank lines as one); "chat" is of
            conversations, in Parquet or JSON, as `chat.conversation` knows them; any other is an extension.
        text_field: the column or key that holds a document's text, with dots into nested objects
            (not used by texts).
        min_tokens: documents of fewer tokens are left out.
        max_tokens: documents of more tokens are left out; None is no limit.
        where: conditions on a row's other fields; rows that do not meet all are left out.
        repository: what makes files one document; None where each row or object is its own.
        ignore_fields: fields of conversations and their turns that are left out.
        heldout_fraction: share of its documents that never enter training; None is the same as of
            other sources.
        format_options: of a format that is an extension.
    """

    name: str
    patterns: tuple[str, ...]
    format: str = "auto"
    text_field: str = "text"
    min_tokens: int = 0
    max_tokens: int | None = None
    where: tuple[Condition, ...] = ()
    repository: RepositoryRule | None = None
    ignore_fields: tuple[str, ...] = ()
    heldout_fraction: float | None = None
    format_options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def of_folders(self) -> int:
        """How many folders name an object's repository; 0 where objects are ingested one by one."""
        return (self.repository.depth or 0) if self.repository else 0

    @property
    def needs_rows(self) -> str | None:
        """What of this asks for rows with fields, as the recipe's key; None if nothing does."""
        if self.where:
            return "where"
        return "repository" if self.repository and self.repository.fields else None


def format_of(object_path: str, spec: SourceSpec) -> tuple[str, Compression | None]:
    """An object's format, and its compression ("gzip", "zstd" or None).

    Raises:
        UserError: the format is "auto" and the object's name does not tell it, or the name tells another kind.
    """
    name = object_path.rsplit("/", 1)[-1].lower()
    compression: Compression | None = None
    for suffix, codec in COMPRESSIONS.items():
        if name.endswith(suffix):
            name, compression = name.removesuffix(suffix), codec
    if spec.format == "chat" and name.endswith(_TEXT_SUFFIXES):
        raise UserError(
            f"corpora.{spec.name}.path: {object_path!r} is a text by its name, and format chat reads rows of Parquet "
            f"or JSON; set corpora.{spec.name}.format=text if its texts are to be trained on, or run the recipe with "
            "longspan pretrain if it is one of pretraining; JSON lines are named .jsonl"
        )
    if name.endswith(".parquet") and spec.format not in ("auto", "parquet", "chat"):
        raise UserError(
            f"corpora.{spec.name}.format: {spec.format} does not read {object_path!r}, which is Parquet by its name; "
            f"set corpora.{spec.name}.format=parquet"
        )
    if spec.format != "auto":
        return spec.format, compression
    if spec.of_folders:
        return "text", compression
    for suffix, format in SUFFIXES.items():
        if name.endswith(suffix):
            return format, compression
    raise UserError(
        f"corpora.{spec.name}.path: the name of {object_path!r} does not tell its format: it must "
        f"end in one of {', '.join(SUFFIXES)} (the last ones also with {', '.join(COMPRESSIONS)}), "
        f"or set corpora.{spec.name}.format"
    )


def read(
    store: Store, object_path: str, spec: SourceSpec, copy: LocalCopy | None = None
) -> Iterator[Document]:
    """An object's documents, and in their places what was left out or could not be read, in order.

    They are read from a copy that is known to be what the store holds (`Store.local`), so that what
    a network does to them is never taken for bad input.

    Damage that hides where the next document begins (a truncated archive) ends the stream; the
    documents before it are whole. A text without any character is not an error here.

    Args:
        store: where the object is.
        object_path: the object.
        spec: the source that it is of.
        copy: the object's, where there is one already.

    Raises:
        UserError: the object cannot be reached, or its format is not known.
        FileNotFoundError: the object is not there.
    """
    format, compression = format_of(object_path, spec)
    opened = nullcontext(copy) if copy else store.local(object_path)
    with store.reading(object_path), opened as local, pa.OSFile(local.path) as file:
        size = file.size()
        if size == 0:
            yield BadInput(object_path, "the whole object", "empty", "it has 0 bytes")
        elif format == "parquet" or (format == "chat" and object_path.lower().endswith(".parquet")):
            yield from within_bounds(_packed(file, object_path, spec), object_path, size)
        else:
            stream = Bounded(decompressed(file, compression), size) if compression else file
            yield from _streamed(stream, object_path, format, spec)


def _packed(file: pa.NativeFile, object_path: str, spec: SourceSpec) -> Iterator[Document]:
    """Content of a Parquet object."""
    if spec.format == "chat":
        return chat.read_parquet(file, object_path, _rows_wanted(spec))
    return _documents(parquet.read(file, object_path, _wanted(spec)), spec)


def _streamed(
    stream: Readable, object_path: str, format: str, spec: SourceSpec
) -> Iterator[Document]:
    """Content of an object of another format, read from beginning to end."""
    if format == "jsonl":
        return _documents(jsonl.read(stream, object_path, _wanted(spec)), spec)
    if format == "chat":
        return chat.read_json(stream, object_path, _rows_wanted(spec))
    if format == "text_blocks":
        return text.read_blocks(stream, object_path)
    if extension_format(spec):
        return _documents(read_extension(stream, object_path, spec, _wanted(spec)), spec)
    return text.read(stream, object_path)


def _rows_wanted(spec: SourceSpec) -> chat.Rows:
    return chat.Rows(Filter(spec.where), frozenset(spec.ignore_fields))


def _wanted(spec: SourceSpec) -> RowSelector:
    fields = spec.repository.fields if spec.repository else None
    return RowSelector(spec.text_field, Filter(spec.where), fields)


def _documents(
    items: Iterator[str | File | LeftOut | BadInput], spec: SourceSpec
) -> Iterator[Document]:
    """Rows that are files become one document for each repository."""
    if spec.repository:
        return grouped(items, spec.repository.header)
    return cast("Iterator[Document]", items)


def documents(store: Store, object_path: str, spec: SourceSpec) -> Iterator[str]:
    """An object's documents, in order.

    Raises:
        BadInput: at the first thing that cannot be read.
        UserError: the object cannot be reached, or its format is not known.
    """
    for item in read(store, object_path, spec):
        if isinstance(item, BadInput):
            raise item
        if isinstance(item, str):
            yield item
