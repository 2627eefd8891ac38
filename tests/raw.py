"""Raw corpora for tests: the same documents in every format, and damaged ones."""

import gzip
import json
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from longspan.storage import Store

Writer = Callable[[Sequence[str]], bytes]


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def jsonl(texts: Sequence[str], field: str = "text") -> bytes:
    rows = [json.dumps({"id": number, field: text}) for number, text in enumerate(texts)]
    return "".join(row + "\n" for row in rows).encode()


def parquet(texts: Sequence[str | None], field: str = "text", **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({"id": range(len(texts)), field: pa.array(texts, pa.string())})
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def text(texts: Sequence[str]) -> bytes:
    """One document, whatever the number of texts."""
    return "\n".join(texts).encode()


FORMATS: dict[str, Writer] = {
    ".parquet": parquet,
    ".jsonl": jsonl,
    ".jsonl.gz": lambda texts: gzip.compress(jsonl(texts)),
    ".jsonl.zst": lambda texts: zstd(jsonl(texts)),
    ".txt": text,
    ".txt.gz": lambda texts: gzip.compress(text(texts)),
    ".txt.zst": lambda texts: zstd(text(texts)),
}


def sentences(count: int, seed: int = 0) -> list[str]:
    """Different short documents of different lengths."""
    words = ["keeper", "ship", "storm", "tide", "book", "name", "page", "window", "letter", "wind"]
    return [
        f"{seed}-{n}: " + " ".join(words[(n * 7 + i * (n % 5 + 1)) % 10] for i in range(n % 40 + 2))
        for n in range(count)
    ]


def put(store: Store, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        store.write_bytes(path, data)
