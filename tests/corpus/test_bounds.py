"""Small objects do not become large, and columns that could run code are bad input."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longspan.corpus import bounds as row_bounds
from longspan.corpus import chat, jsonl, parquet, text
from longspan.corpus.bad_input import BadInput
from longspan.corpus.sources import SourceSpec, read
from longspan.storage import Store, bounds
from tests.raw import extension_field, hostile_parquet, put, with_column, zstd

MIB = 2**20
DEEP = 100_000


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Where objects may become a MiB, or 100 times their size."""
    monkeypatch.setattr(bounds, "FREE_BYTES", MIB)
    return Store(str(tmp_path))


def found(store: Store, path: str, format: str = "auto") -> list[str]:
    """What is wrong with an object; "" for each of its documents."""
    items = read(store, path, SourceSpec("books", ("raw",), format))
    return [str(item) if isinstance(item, BadInput) else "" for item in items]


@pytest.mark.parametrize("format", ["parquet", "chat"])
def test_a_column_that_could_run_code_is_bad_input_even_if_nobody_reads_it(
    store: Store, tmp_path: Path, format: str
) -> None:
    put(store, {"x.parquet": hostile_parquet(["a"] * 3, str(tmp_path / "marker"))})
    (bad,) = found(store, "x.parquet", format)
    assert bad.startswith(
        "x.parquet, the whole object: extension type (column 'image' has the extension type "
        "'ray.data.arrow_pickled_object'"
    )
    assert "write the column with its plain storage type" in bad
    assert not (tmp_path / "marker").exists()


def test_text_of_an_extension_type_of_arrow_itself_is_text(store: Store) -> None:
    column = pa.ExtensionArray.from_storage(pa.json_(), pa.array(["[1]"]))
    pq.write_table(pa.table({"text": column}), f"{store.root}/x.parquet")
    assert found(store, "x.parquet") == [""]


def test_only_the_columns_of_a_conversation_are_read(store: Store) -> None:
    """Another column's data may be damaged."""
    talk = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    table = pa.Table.from_pylist([{"messages": talk, "image": b"12345678" * 100}])
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_page_checksum=True)
    put(store, {"x.parquet": sink.getvalue().to_pybytes().replace(b"12345678", b"12345679", 50)})
    assert found(store, "x.parquet", "chat") == [""]


@pytest.mark.parametrize("compress", [zstd, gzip.compress])
@pytest.mark.parametrize(
    ("name", "format", "unit"),
    [
        ("x.txt", "text", b"a"),
        ("x.txt", "text_blocks", b"a\n\n"),
        ("x.jsonl", "jsonl", b'{"text": "a"}\n'),
        ("x.jsonl", "chat", b'{"text": "a"}\n'),
        ("x.json", "chat", b"[],\n"),
    ],
)
def test_a_small_object_does_not_become_large(
    store: Store, compress, name: str, format: str, unit: bytes
) -> None:
    path = name + (".zst" if compress is zstd else ".gz")
    begin = b"[" if name == "x.json" else b""
    content = compress(begin + unit * (4 * MIB // len(unit)))
    assert len(content) < 100_000
    put(store, {path: content})
    *_, bad = found(store, path, format)
    assert "too large (more than " in bad
    assert f"in an object of {len(content):,} bytes; at most " in bad
    assert "store it with less compression, or as more and smaller objects" in bad
    # The same content is read where the object is as large as that.
    put(store, {name: begin + unit * (2 * MIB // len(unit))})
    assert not any("too large" in item for item in found(store, name, format))


def test_one_document_line_or_list_is_bounded_however_it_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (jsonl, chat, parquet):
        monkeypatch.setattr(module, "MAX_DOCUMENT_BYTES", MIB)
    line = b'{"text": "' + b"a" * 3 * MIB + b'"}\n'
    put(store, {"x.jsonl": b'{"text": "good"}\n' + line, "x.json": b"[" + b"[],\n" * MIB})
    assert found(store, "x.jsonl") == [
        "",
        "x.jsonl, after its last whole line: too large (one line of more than 1,048,576 bytes; "
        "split its document into several lines)",
    ]
    (bad,) = found(store, "x.json", "chat")
    assert "write its items as JSON lines" in bad
    pq.write_table(pa.table({"text": ["a", "b" * 3 * MIB, "c"]}), f"{store.root}/x.parquet")
    assert found(store, "x.parquet") == [
        "",
        "x.parquet, row 2: too large (one text of more than 1,048,576 bytes; split it into several rows)",
        "",
    ]
    (bad,) = text.read(pa.BufferReader(b"a" * 3 * MIB), "x.txt", most=MIB)
    assert "format: text_blocks" in str(bad)


def test_rows_of_parquet_are_counted_as_they_come(store: Store) -> None:
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), ["x" * 1000])
    pq.write_table(pa.table({"text": texts}), f"{store.root}/x.parquet", compression="zstd")
    *good, bad = found(store, "x.parquet")
    assert len(good) == MIB // (1000 + row_bounds.ROW_BYTES)
    assert f"after row {len(good)}: too large (more than {len(good):,} rows in an object" in bad


@pytest.mark.parametrize("value", ["[" * DEEP, '{"a":' * DEEP, "1" * DEEP])
@pytest.mark.parametrize("format", ["jsonl", "chat"])
def test_json_that_is_deep_or_has_long_numbers_is_bad_input(
    store: Store, value: str, format: str
) -> None:
    put(store, {"x.jsonl": f'{{"text": "a"}}\n{{"text": "a", "n": {value}\n'.encode()})
    assert "line 2: not JSON" in found(store, "x.jsonl", format)[1]


def test_a_nested_column_of_an_unknown_type_is_named(store: Store) -> None:
    """Types that nothing has registered are refused like those that Ray has."""
    inner = extension_field("box", pa.string(), "org.example.box")
    put(
        store,
        {"x.parquet": with_column(pa.field("meta", pa.struct([inner])), [{"box": ""}], ["a"])},
    )
    assert (
        "column 'meta.box' has the extension type 'org.example.box'" in found(store, "x.parquet")[0]
    )


def test_numbers_of_json_stay_numbers(store: Store) -> None:
    put(store, {"x.jsonl": json.dumps({"text": "a", "n": 10**4000}).encode()})
    assert found(store, "x.jsonl") == [""]
