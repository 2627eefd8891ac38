"""The sample corpora, their sources and their formats."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from longspan.samples import books, chat, encyclopedia, stdlib
from longspan.samples.documents import Document, measure, write_jsonl, write_parquet, write_text
from longspan.samples.download import Package, fetch
from longspan.samples.record import Contents, Record, ensure

# Part of what a corpus is made from: raise it when the code makes other text of the same source.
VERSION = 1


@dataclass(frozen=True)
class Corpus:
    """A corpus: where its documents come from and how they are written.

    Attributes:
        name: its folder below corpora/.
        source: what the table says it is.
        read: gives the documents, by way of the folder of downloads.
        write: writes them into a folder.
        made_from: what the documents depend on.
    """

    name: str
    source: str
    read: Callable[[Path], list[Document]]
    write: Callable[[Sequence[Document], Path], None]
    made_from: str


def _packaged(
    package: Package, documents: Callable[[Path], list[Document]]
) -> Callable[[Path], list[Document]]:
    return lambda cache: documents(fetch(package, cache))


def corpora() -> list[Corpus]:
    """All of them, from the longest documents to the shortest, and conversations."""
    return [
        Corpus(
            name="books",
            source="plays and poems, plain text",
            read=_packaged(books.PACKAGE, books.documents),
            write=write_text,
            made_from=books.PACKAGE.sha256,
        ),
        Corpus(
            name="code",
            source="the standard library, Parquet",
            read=lambda cache: stdlib.documents(),
            write=partial(write_parquet, shards=2),
            made_from=f"Python {platform.python_version()}",
        ),
        Corpus(
            name="encyclopedia",
            source="article summaries, JSON lines",
            read=_packaged(encyclopedia.PACKAGE, encyclopedia.documents),
            write=partial(write_jsonl, shards=4),
            made_from=encyclopedia.PACKAGE.sha256,
        ),
        Corpus(
            name="chat",
            source="questions on the library, conversations",
            read=lambda cache: chat.documents(),
            write=chat.write,
            made_from=f"Python {platform.python_version()}",
        ),
    ]


def make(corpus: Corpus, directory: Path, cache: Path) -> tuple[Record, bool]:
    """Writes a corpus to store/corpora/<name> unless it is there; says whether it had to be."""

    def build(folder: Path) -> Contents:
        documents = corpus.read(cache)
        corpus.write(documents, folder)
        return measure(documents)

    return ensure(
        directory / "store" / "corpora" / corpus.name,
        directory / "samples",
        f"{VERSION} {corpus.made_from}",
        build,
    )
