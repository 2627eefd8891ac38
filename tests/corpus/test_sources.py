"""Every format gives the same documents, and every kind of damage is named."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.corpus import jsonl as jsonl_format
from longspan.corpus.filters import LeftOut, conditions
from longspan.corpus.sources import BadInput, SourceSpec, documents, format_of, read
from longspan.corpus.wanted import RowSelector
from longspan.errors import UserError
from longspan.storage import Store
from tests.raw import FORMATS, jsonl, parquet, sentences, zstd

SPEC = SourceSpec("books", ("raw",))
TEXTS = [*sentences(50), "caf\u00e9 \u4f60\u597d \U0001f469 \x00 \u2028 tab\t", '"quoted"\\', "\n"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def problems(store: Store, name: str, data: bytes, spec: SourceSpec = SPEC) -> list[str]:
    """What is wrong with an object: place, reason and detail, without its name."""
    store.write_bytes(name, data)
    found = [str(item) for item in read(store, name, spec) if isinstance(item, BadInput)]
    assert all(item.startswith(f"{name}, ") for item in found)
    return [item.removeprefix(f"{name}, ") for item in found]


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats(store: Store, suffix: str) -> None:
    store.write_bytes(f"x{suffix}", FORMATS[suffix](TEXTS))

    expected = ["\n".join(TEXTS)] if suffix.startswith(".txt") else TEXTS
    assert list(documents(store, f"x{suffix}", SPEC)) == expected


@settings(deadline=None)
@given(texts=st.lists(st.text(), min_size=1, max_size=8), ascii_only=st.booleans())
def test_json_is_read_as_json(texts: list[str], ascii_only: bool) -> None:
    rows = [json.dumps({"n": [1], "text": text}, ensure_ascii=ascii_only) for text in texts]
    data = pa.BufferReader("\n".join(rows).encode())

    assert list(jsonl_format.read(data, "x", RowSelector("text"))) == texts


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_text_may_hold_a_document_in_each_block(store: Store, newline: str) -> None:
    spec = SourceSpec("books", ("raw",), format="text_blocks")
    lines = ["", "first", "  second line", "", " \t", "another", "", "", "last"]
    store.write_bytes("x.txt", newline.join(lines).encode())

    assert list(documents(store, "x.txt", spec)) == [
        f"first{newline}  second line",
        "another",
        "last",
    ]
    assert problems(store, "y.txt", b"\n \n\n", spec) == [
        "the whole object: empty (it has nothing but blank lines)"
    ]
    assert problems(store, "z.txt", b"good\n\n\xff", spec)[0].startswith(
        "the whole object: not UTF-8"
    )


def test_a_format_may_be_given(store: Store) -> None:
    spec = SourceSpec("books", ("raw",), format="jsonl", text_field="body")
    store.write_bytes("x.data.gz", gzip.compress(jsonl(["a", "b"], "body")))

    assert list(documents(store, "x.data.gz", spec)) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/B.PARQUET", ("parquet", None)),
        ("a.jsonl.gz", ("jsonl", "gzip")),
        ("a.ndjson", ("jsonl", None)),
        ("a.txt.zst", ("text", "zstd")),
    ],
)
def test_format_of(name: str, expected: tuple[str, str | None]) -> None:
    assert format_of(name, SPEC) == expected


def test_a_name_that_tells_no_format() -> None:
    with pytest.raises(UserError, match=r"corpora\.books\.path: .*'a/x\.bin'.* set corpora\.books"):
        format_of("a/x.bin", SPEC)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.TXT.gz"])
def test_a_text_is_no_conversation_by_its_name(name: str) -> None:
    """A recipe of pretraining that is given to jobs/sft.py, where conversations are the default."""
    chat = SourceSpec("books", ("raw",), "chat")
    with pytest.raises(
        UserError, match=r"corpora\.books\.path: .* is a text by its name.*pretrain"
    ):
        format_of(f"raw/{name}", chat)
    assert format_of("raw/a.jsonl.gz", chat) == ("chat", "gzip")
    assert format_of("raw/a", chat) == ("chat", None)


@pytest.mark.parametrize("format", ["text", "text_blocks", "jsonl"])
def test_parquet_is_not_read_as_text(format: str) -> None:
    spec = SourceSpec("books", ("raw",), format=format)
    message = rf"books\.format: {format} does not read 'raw/a\.parquet'.*set corpora\.books\.format=parquet"
    with pytest.raises(UserError, match=message):
        format_of("raw/a.parquet", spec)
    assert format_of("raw/a.json", spec) == (format, None)


def test_lines_longer_than_what_is_read_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl_format, "CHUNK", 7)
    store.write_bytes("x.jsonl", jsonl(TEXTS).rstrip(b"\n"))

    assert list(documents(store, "x.jsonl", SPEC)) == TEXTS


def test_a_byte_order_mark_is_no_text(store: Store) -> None:
    store.write_bytes("x.txt", b"\xef\xbb\xbfhello")
    store.write_bytes("x.jsonl", b"\xef\xbb\xbf" + jsonl(["hello"]))

    assert list(documents(store, "x.txt", SPEC)) == ["hello"]
    assert list(documents(store, "x.jsonl", SPEC)) == ["hello"]


def test_parquet_types_of_text(store: Store) -> None:
    array = pa.array(["a", "b", "a"])
    for number, type in enumerate([pa.large_string(), pa.binary(), pa.string_view()]):
        pq.write_table(pa.table({"text": array.cast(type)}), f"{store.root}/{number}.parquet")
    pq.write_table(pa.table({"text": array.dictionary_encode()}), f"{store.root}/3.parquet")

    for number in range(4):
        assert list(documents(store, f"{number}.parquet", SPEC)) == ["a", "b", "a"]


def test_large_parquet_is_read_in_batches(store: Store) -> None:
    """The documents before the damage come out, although a whole read would fail."""
    texts = [f"{number}" * 1_000_000 for number in range(10)]
    data = bytearray(parquet(texts, row_group_size=2, compression="none", use_dictionary=False))
    place = data.index(b"8888")
    data[place - 40 : place] = bytes(40)
    store.write_bytes("x.parquet", bytes(data))

    *good, bad = read(store, "x.parquet", SPEC)

    assert good == texts[: len(good)]
    assert len(good) >= 6
    assert isinstance(bad, BadInput)
    assert bad.reason == "truncated or corrupt"


@pytest.mark.parametrize("suffix", FORMATS)
def test_empty_objects(store: Store, suffix: str) -> None:
    name = f"x{suffix}"
    assert problems(store, name, b"") == ["the whole object: empty (it has 0 bytes)"]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".jsonl.gz", ".txt.zst", ".txt.gz"])
def test_objects_without_documents(store: Store, suffix: str) -> None:
    data = {".jsonl": b"\n \n"}.get(suffix, FORMATS[suffix]([]))
    (problem,) = problems(store, f"x{suffix}", data)
    assert problem.startswith("the whole object: empty")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl.gz", ".jsonl.zst", ".txt.gz", ".txt.zst"])
def test_truncated_objects(store: Store, suffix: str) -> None:
    texts = [text * 40 for text in sentences(400)]
    whole = FORMATS[suffix](texts)
    for size in (len(whole) // 2, len(whole) - 1, 5):
        store.write_bytes(f"x{suffix}", whole[:size])
        *good, bad = read(store, f"x{suffix}", SPEC)
        assert isinstance(bad, BadInput)
        assert bad.reason == "truncated or corrupt"
        # What came before is whole documents.
        assert good == texts[: len(good)]


def test_not_utf8(store: Store) -> None:
    column = pa.array([b"good", b"caf\xe9"], pa.binary()).view(pa.string())
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": column}), sink)

    found = "not UTF-8 (byte 0xe9 at offset 3)"
    assert problems(store, "x.txt", b"caf\xe9") == [f"the whole object: {found}"]
    assert problems(store, "x.parquet", sink.getvalue().to_pybytes()) == [f"row 2: {found}"]
    lines = b'{"text": "good"}\n{"text": "caf\xe9"}\n'
    assert problems(store, "x.jsonl", lines) == ["line 2: not UTF-8 (byte 0xe9 at offset 13)"]
    surrogate = b'{"text": "\\ud83d"}\n'
    assert problems(store, "x.jsonl", surrogate) == ["line 1: not UTF-8 (half of a surrogate pair)"]


def test_rows_without_the_text_field(store: Store) -> None:
    rows = b'{"text": "a"}\n\n{"id": 1, "body": "b"}\n{"text": null}\n{"text": 5}\n'
    missing = "no text field ('text' is not among its fields: 'id', 'body')"

    assert problems(store, "x.jsonl", rows) == [
        f"line 3: {missing}",
        "line 4: text field is no text ('text' is of type null)",
        "line 5: text field is no text ('text' is of type int)",
    ]
    assert problems(store, "x.parquet", parquet(["a"], "body")) == [f"the whole object: {missing}"]
    assert problems(store, "x.parquet", parquet(["a", None])) == [
        "row 2: text field is no text ('text' is of type null)"
    ]


@pytest.mark.parametrize(
    "line", ["{", '{"text": "a"', '{"text": "a"} x', "x", '{"text": a}', '{"text": "a\nb"}']
)
def test_lines_that_are_no_json(store: Store, line: str) -> None:
    data = jsonl(["a"]) + line.encode() + b"\n" + jsonl(["b"])
    found = problems(store, "x.jsonl", data)

    assert len(found) == line.count("\n") + 1
    assert found[0].startswith("line 2: not JSON")
    assert [item for item in read(store, "x.jsonl", SPEC) if isinstance(item, str)] == ["a", "b"]


@pytest.mark.parametrize("line", ["[1]", '"text"', "5", "null"])
def test_lines_that_are_no_objects(store: Store, line: str) -> None:
    (problem,) = problems(store, "x.jsonl", line.encode())
    assert problem.startswith("line 1: not a JSON object")


def test_documents_stops_at_what_is_bad(store: Store) -> None:
    store.write_bytes("x.jsonl", jsonl(["a"]) + b"{\n" + jsonl(["b"]))
    stream: Iterator[str] = documents(store, "x.jsonl", SPEC)

    assert next(stream) == "a"
    with pytest.raises(BadInput, match=re.escape("x.jsonl, line 2: not JSON")):
        next(stream)


def test_garbage_is_not_parquet_nor_zstd(store: Store) -> None:
    for name in ("x.parquet", "x.jsonl.zst", "x.txt.gz"):
        (problem,) = problems(store, name, b"this is no such format at all " * 10)
        assert "truncated or corrupt" in problem


def test_several_streams_in_one_file(store: Store) -> None:
    store.write_bytes("x.jsonl.gz", gzip.compress(jsonl(["a"])) + gzip.compress(jsonl(["b"])))
    store.write_bytes("x.jsonl.zst", zstd(jsonl(["a"])) + zstd(jsonl(["b"])))

    assert list(documents(store, "x.jsonl.gz", SPEC)) == ["a", "b"]
    assert list(documents(store, "x.jsonl.zst", SPEC)) == ["a", "b"]


def test_an_object_that_is_gone(store: Store) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        list(documents(store, "gone.jsonl", SPEC))


ROWS = [{"id": n, "text": f"t{n}", "meta": {"lang": "de" if n % 3 else "en"}} for n in range(9)]


def filtered(store: Store, suffix: str, **where: object) -> list[object]:
    """What rows in both formats give, where a condition is on them."""
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    store.write_bytes("x.jsonl", lines)
    # A blank line takes the way in which lines are read one by one.
    store.write_bytes("x.slow.jsonl", b"\n" + lines)
    pq.write_table(pa.Table.from_pylist(ROWS), f"{store.root}/x.parquet", row_group_size=4)
    spec = SourceSpec("books", ("raw",), where=conditions(where))
    return list(read(store, f"x{suffix}", spec))


@pytest.mark.parametrize("suffix", [".jsonl", ".slow.jsonl", ".parquet"])
def test_rows_are_filtered_the_same_way_in_every_format(store: Store, suffix: str) -> None:
    found = filtered(store, suffix, **{"meta.lang": "en", "id": {"min": 2}})
    assert [item for item in found if isinstance(item, str)] == ["t3", "t6"]
    assert sum(item.count for item in found if isinstance(item, LeftOut)) == 7
    assert len(filtered(store, suffix, id={"max": 100})) == 9
    nothing = filtered(store, suffix, id={"min": 100})
    assert sum(item.count for item in nothing if isinstance(item, LeftOut)) == len(ROWS)
    assert all(isinstance(item, LeftOut) for item in nothing)
    assert [item for item in filtered(store, suffix, text="t5") if isinstance(item, str)] == ["t5"]


@pytest.mark.parametrize("suffix", [".jsonl", ".slow.jsonl", ".parquet"])
def test_a_condition_on_a_field_that_no_row_has(store: Store, suffix: str) -> None:
    *left_out, bad = filtered(store, suffix, **{"meta.lagn": "en"})
    assert all(isinstance(item, LeftOut) for item in left_out)
    assert str(bad) == (
        f"x{suffix}, the whole object: no such field ('where' asks for 'meta.lagn', which none of "
        "its rows has; the nearest is 'meta.lang')"
    )


def test_rows_after_filtered_ones_keep_their_numbers(store: Store) -> None:
    rows = [{"id": n, "text": None if n == 5 else "x"} for n in range(8)]
    pq.write_table(pa.Table.from_pylist(rows), f"{store.root}/x.parquet", row_group_size=3)
    spec = SourceSpec("books", ("raw",), where=conditions({"id": {"min": 4}}))
    (bad,) = [item for item in read(store, "x.parquet", spec) if isinstance(item, BadInput)]
    assert bad.where == "row 6"


def test_where_reads_dictionaries_and_times(store: Store) -> None:
    times = pa.array([0, 86_400], pa.timestamp("s"))
    table = {"text": ["a", "b"], "lang": pa.array(["x", "y"]).dictionary_encode(), "at": times}
    pq.write_table(pa.table(table), f"{store.root}/x.parquet")
    for where in ({"lang": "y"}, {"at": {"min": "1970-01-02"}}):
        spec = SourceSpec("books", ("raw",), where=conditions(where))
        assert list(documents(store, "x.parquet", spec)) == ["b"]
