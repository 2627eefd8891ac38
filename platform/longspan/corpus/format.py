"""Corpus formats that are added from outside the package: how their objects become documents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from longspan.corpus.bad_input import BadInput, unreadable
from longspan.corpus.filters import FILTERED_OUT, LeftOut
from longspan.corpus.wanted import File, RowSelector, unknown_condition
from longspan.errors import UserError
from longspan.extensions.options import validated
from longspan.extensions.points import CORPUS_FORMATS
from longspan.storage.bounds import Readable, TooLarge

if TYPE_CHECKING:
    from longspan.corpus.sources import SourceSpec

WHOLE = "the whole object"


class CorpusFormat(ABC):
    """A format of raw objects; one instance reads one object.

    Parameters of the constructor are options, which the recipe sets in `format_options`. They and `version` are part of
    what token shards are known by: an object is ingested again if they change.
    """

    version: ClassVar[int] = 1
    """To be raised when a change of the class changes the documents that it reads."""
    has_rows: ClassVar[bool] = False
    """Whether `read` yields rows with fields, to which the recipe's `text_field`, `where` and `repository` apply."""

    @abstractmethod
    def read(
        self, stream: Readable, object_path: str
    ) -> Iterator[str | Mapping[str, Any] | BadInput]:
        """Yield an object's documents in order, and in its place what could not be read.

        It is called in a worker of the ingest, and gives the same for the same bytes.

        Args:
            stream: content, decompressed if the object's name ends in .gz or .zst; has `read(nbytes)` only.
            object_path: path of the object, for `BadInput`.

        Yields:
            Texts, or rows (with `has_rows`), or `BadInput`, which ends the job or is skipped and counted.
        """


def extension_format(spec: SourceSpec) -> type[CorpusFormat] | None:
    """Return the class of a source's format; None for the formats of the package itself.

    Raises:
        UserError: it cannot be imported or is not a format, an option is wrong, or the source asks for fields of rows
            that the format does not have.
    """
    if spec.format in CORPUS_FORMATS.builtin:
        return None
    key = f"corpora.{spec.name}"
    found = CORPUS_FORMATS.load(spec.format, f"{key}.format")
    validated(found, spec.format_options, f"{key}.format_options")
    if not found.has_rows and spec.needs_rows:
        raise UserError(
            f"{key}.{spec.needs_rows}: {spec.format} reads texts, which have no fields; leave the key out"
        )
    return found


def read_extension(
    stream: Readable, object_path: str, spec: SourceSpec, wanted: RowSelector
) -> Iterator[str | File | LeftOut | BadInput]:
    """Yield what a format of somebody else's reads, checked and filtered.

    Raises:
        UserError: it yields something else than texts and rows.
    """
    found = extension_format(spec)
    assert found, f"{spec.format} is not an extension"
    key = f"corpora.{spec.name}.format_options"
    reader = found(**validated(found, spec.format_options, key))
    number = 0
    try:
        for number, item in enumerate(reader.read(stream, object_path), 1):
            yield _document(item, object_path, f"document {number}", found, wanted)
    except (OSError, TooLarge, pa.ArrowException) as error:
        yield unreadable(object_path, f"after document {number}", error)
        return
    if not number:
        yield BadInput(object_path, WHOLE, "empty", "it has no documents")
    elif unknown := unknown_condition(wanted.filter, object_path):
        yield unknown


def _document(
    item: object, object_path: str, where: str, found: type[CorpusFormat], wanted: RowSelector
) -> str | File | LeftOut | BadInput:
    if isinstance(item, BadInput):
        return item
    if isinstance(item, str) and not found.has_rows:
        return wanted.checked(item, object_path, where)
    if isinstance(item, Mapping) and found.has_rows:
        if wanted.filter and not wanted.filter.matches(item):
            return LeftOut(FILTERED_OUT)
        text = wanted.text_of(item, object_path, where)
        if isinstance(text, BadInput):
            return text
        return wanted.of(item, text, object_path, where)
    expected = "rows (mappings): has_rows is set" if found.has_rows else "texts (str)"
    raise UserError(
        f"corpora: {found.__module__}:{found.__qualname__}.read yields a {type(item).__name__} for {object_path!r}, "
        f"{where}; it has to yield {expected}, or BadInput"
    )
