"""Documents, and the three file formats that they are written in."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from longspan.samples.record import Contents


@dataclass(frozen=True)
class Document:
    """One text with a name: a title, a path."""

    name: str
    text: str


def measure(documents: Sequence[Document]) -> Contents:
    """Counts documents and characters."""
    lengths = [len(document.text) for document in documents]
    return Contents(
        documents=len(lengths),
        characters=sum(lengths),
        median=int(statistics.median(lengths)),
        longest=max(lengths),
    )


def write_text(documents: Sequence[Document], folder: Path) -> None:
    """Writes one .txt file per document, named after it."""
    for document in documents:
        (folder / f"{document.name}.txt").write_text(document.text, encoding="utf-8")


def write_jsonl(documents: Sequence[Document], folder: Path, shards: int) -> None:
    """Writes JSON lines with the fields `title` and `text`, compressed with zstd."""
    import pyarrow as pa

    for number, part in enumerate(_split(documents, shards)):
        with pa.CompressedOutputStream(str(folder / f"part-{number:04}.jsonl.zst"), "zstd") as file:
            for document in part:
                row = {"title": document.name, "text": document.text}
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def write_parquet(documents: Sequence[Document], folder: Path, shards: int) -> None:
    """Writes Parquet with the columns `path` and `text`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number, part in enumerate(_split(documents, shards)):
        table = pa.table({"path": [d.name for d in part], "text": [d.text for d in part]})
        path = folder / f"part-{number:04}.parquet"
        pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def _split(documents: Sequence[Document], shards: int) -> Iterable[Sequence[Document]]:
    """The documents dealt out in turn, so that the shards are alike."""
    return [documents[number::shards] for number in range(min(shards, len(documents)))]
