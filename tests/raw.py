"""Raw corpora for tests: the same documents in every format, and damaged ones."""

import gzip
import json
import pickle
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


class _Touches:
    """Makes a file where it is unpickled."""

    def __init__(self, marker: str) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self._marker, "w")


def extension_field(
    name: str, type: pa.DataType, extension: str, parameters: bytes = b""
) -> pa.Field:
    """A field of an extension type that need not be known here."""
    metadata = {"ARROW:extension:name": extension, "ARROW:extension:metadata": parameters}
    return pa.field(name, type, metadata=metadata)


def with_column(field: pa.Field, values: Sequence[object], texts: Sequence[str]) -> bytes:
    """Parquet with a column of texts and another one."""
    beside = "text" if field.name != "text" else "title"
    schema = pa.schema([pa.field(beside, pa.string()), field])
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_arrays([pa.array(texts), pa.array(values, field.type)], schema=schema), sink
    )
    return sink.getvalue().to_pybytes()


def hostile_parquet(texts: Sequence[str], marker: str, column: str = "image") -> bytes:
    """Parquet that makes a file when Ray Data's type for Python objects turns a value into one."""
    field = extension_field(column, pa.large_binary(), "ray.data.arrow_pickled_object")
    return with_column(field, [pickle.dumps(_Touches(marker))] * len(texts), texts)


def hostile_when_opened(marker: str) -> bytes:
    """Parquet that makes a file when it is opened, where Ray Data reads its tensors' shape as a pickle."""
    shape = pickle.dumps(_Touches(marker))
    field = extension_field("pixels", pa.list_(pa.int64()), "ray.data.arrow_tensor", shape)
    return with_column(field, [[1]], ["a"])
