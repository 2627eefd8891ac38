"""Every form in which tools write text is read, and nothing that Parquet can hold is a traceback."""

import datetime
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from longspan.corpus.bad_input import BadInput
from longspan.corpus.columns import chosen, texts
from longspan.corpus.filters import LeftOut, conditions
from longspan.corpus.sources import SourceSpec, read
from longspan.storage import Store
from longspan.storage.parquet_footer import _problem
from tests.raw import put

VALUES = ["a", "caf\u00e9", None, "a", "\U0001f469", "", "z" * 5000]
GOOD = [value for value in VALUES if value is not None]
NOT_TEXT = "row 3: text field is no text ('text' is of type null)"

FORMS = {
    "string": pa.string(),
    "large string": pa.large_string(),
    "string view": pa.string_view(),
    "binary": pa.binary(),
    "large binary": pa.large_binary(),
    "binary view": pa.binary_view(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
    "dictionary of large strings": pa.dictionary(pa.int8(), pa.large_string()),
    "dictionary of bytes": pa.dictionary(pa.int16(), pa.binary()),
}


def column_of(type: pa.DataType) -> pa.Array:
    if "binary" in str(type):
        data = pa.array([value and value.encode() for value in VALUES], pa.binary())
        return data.dictionary_encode() if pa.types.is_dictionary(type) else data.cast(type)
    return pa.array(VALUES).cast(type)


def found(store: Store, field: str, where: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Documents, and what is wrong."""
    spec = SourceSpec("books", ("raw",), text_field=field, where=conditions(where))
    items = list(read(store, "x.parquet", spec))
    bad = [str(item).removeprefix("x.parquet, ") for item in items if isinstance(item, BadInput)]
    return [item for item in items if isinstance(item, str)], bad


@pytest.mark.parametrize("where", [{}, {"n": {"min": 0}}, {"n": [0, 1, 2, 4, 6]}], ids=str)
@pytest.mark.parametrize("nested", [False, True], ids=["column", "struct"])
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_text(tmp_path: Path, form: str, nested: bool, where: dict[str, Any]) -> None:
    column = column_of(FORMS[form])
    name, field = "text", "text"
    if nested:
        column, name, field = pa.StructArray.from_arrays([column], ["text"]), "doc", "doc.text"
    table = pa.table({name: column, "n": range(len(VALUES))})
    # Arrow can't write a part of a struct with views.
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=None if nested else 5)
    kept = where.get("n") if isinstance(where.get("n"), list) else range(len(VALUES))
    expected = [VALUES[n] for n in kept or () if VALUES[n] is not None]
    documents, bad = found(Store(str(tmp_path)), field, where)
    assert documents == expected
    assert bad == [NOT_TEXT.replace("'text'", repr(field))]


def test_the_text_of_a_view_is_read_where_rows_are_chosen() -> None:
    """Arrow's `take` does not know views."""
    column = pa.array(["a", "b", "c", "d", "e"], pa.string_view())
    assert [texts(part) for part in chosen(column, [0, 1, 3])] == [["a", "b"], ["d"]]
    assert list(chosen(column, [])) == []


@pytest.mark.parametrize("type", [pa.string(), pa.string_view(), pa.large_string()], ids=str)
@pytest.mark.parametrize("dictionary", [False, True])
def test_bytes_that_are_no_text_are_named(
    tmp_path: Path, type: pa.DataType, dictionary: bool
) -> None:
    column = pa.array([b"good", b"caf\xe9", b"good"], pa.binary()).view(pa.string())
    column = column.dictionary_encode() if dictionary else column
    pq.write_table(pa.table({"text": column, "n": range(3)}), tmp_path / "x.parquet")
    for where in ({}, {"n": {"min": 0}}):
        documents, bad = found(Store(str(tmp_path)), "text", where)
        assert documents == ["good", "good"]
        assert bad == ["row 2: not UTF-8 (byte 0xe9 at offset 3)"]


def test_conditions_are_met_by_text_in_bytes(tmp_path: Path) -> None:
    """Binary columns without the annotation of a text, as Hive and Impala write them."""
    meta = pa.array([{"lang": b"de"}, {"lang": b"en"}])
    table = pa.table({"text": ["a", "b"], "lang": [b"de", b"en"], "meta": meta})
    pq.write_table(table, tmp_path / "x.parquet")
    for field in ("lang", "meta.lang"):
        assert found(Store(str(tmp_path)), "text", {field: "en"}) == (["b"], [])


def test_a_null_struct_has_no_text(tmp_path: Path) -> None:
    column = pa.StructArray.from_arrays(
        [pa.array(["a", "b"])], ["text"], mask=pa.array([False, True])
    )
    pq.write_table(pa.table({"doc": column}), tmp_path / "x.parquet")
    documents, bad = found(Store(str(tmp_path)), "doc.text", {})
    assert documents == ["a"]
    assert bad == ["row 2: text field is no text ('doc.text' is of type null)"]


def test_nested_text_of_lines(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    lines = b'{"doc": {"text": "a"}}\n{"doc": {}}\n{"doc.text": "b"}\n{"doc": null}\n[1]\n'
    put(store, {"x.jsonl": lines, "good.jsonl": lines.splitlines()[0]})
    spec = SourceSpec("books", ("raw",), text_field="doc.text")
    items = list(read(store, "x.jsonl", spec))
    assert [item for item in items if isinstance(item, str)] == ["a", "b"]
    assert [item.reason for item in items if isinstance(item, BadInput)] == [
        "no text field",
        "no text field",
        "not a JSON object",
    ]
    assert list(read(store, "good.jsonl", spec)) == ["a"]


def test_fields_of_the_same_name_are_bad_input(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"])
    pq.write_table(table, tmp_path / "x.parquet")
    assert found(Store(str(tmp_path)), "text", {})[1] == [
        "the whole object: repeated field (it has 2 fields called 'text'; rename all but one)"
    ]


def test_values_that_python_has_no_object_for(tmp_path: Path) -> None:
    years = pa.array([0, 10**9], pa.int32()).view(pa.date32())
    pq.write_table(pa.table({"text": ["a", "b"], "day": years}), tmp_path / "x.parquet")
    documents, bad = found(Store(str(tmp_path)), "text", {"day": {"min": "1970-01-01"}})
    assert documents == ["a"]
    assert bad[0].startswith("row 2: truncated or corrupt")


SCALARS = st.sampled_from(
    [
        *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.binary_view()),
        *(pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.bool_(), pa.null(), pa.date32()),
        *(pa.timestamp("ns"), pa.timestamp("us", "Europe/Berlin"), pa.time64("us")),
        *(pa.duration("ms"), pa.decimal128(20, 3), pa.binary(3)),
    ]
)


def nested_types(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(lambda type: pa.struct([("text", type), ("b", pa.int8())])),
        inner.map(lambda type: pa.map_(pa.string(), type)),
    )


TYPES = st.recursive(SCALARS, nested_types, max_leaves=3)


def value_of(draw: st.DrawFn, type: pa.DataType) -> Any:
    """A value that Arrow takes for a type."""
    types = pa.types
    if types.is_null(type) or draw(st.integers(0, 5)) == 0:
        return None
    if types.is_struct(type):
        return {field.name: value_of(draw, field.type) for field in type}
    if types.is_map(type):
        return [("k", value_of(draw, type.item_type)) for _ in range(draw(st.integers(0, 2)))]
    if types.is_list(type) or types.is_large_list(type):
        return [value_of(draw, type.value_type) for _ in range(draw(st.integers(0, 3)))]
    if types.is_boolean(type):
        return draw(st.booleans())
    if types.is_decimal(type):
        return draw(st.decimals(-1000, 1000, places=3))
    if types.is_integer(type):
        return draw(st.integers(0, 127))
    if types.is_floating(type):
        return draw(st.floats(width=16))
    if types.is_fixed_size_binary(type):
        return draw(st.binary(min_size=3, max_size=3))
    if "binary" in str(type):
        return draw(st.binary(max_size=8))
    if types.is_time(type):
        return draw(st.times())
    if types.is_duration(type):
        return datetime.timedelta(milliseconds=draw(st.integers(-(10**9), 10**9)))
    if types.is_temporal(type):
        return draw(st.integers(0, 10**6))
    return draw(st.text(max_size=8))


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(1, 12))
    columns = {}
    for name in ("text", "meta"):
        type = draw(TYPES)
        column = pa.array([value_of(draw, type) for _ in range(rows)], type)
        if pa.types.is_string(type) and draw(st.booleans()):
            column = column.dictionary_encode()
        columns[name] = column
    return pa.table(columns)


@settings(deadline=None, max_examples=100)
@given(
    table=tables(),
    field=st.sampled_from(["text", "text.text", "meta"]),
    where=st.sampled_from([{}, {"meta": "a"}, {"meta": {"not": 5}}, {"meta.text": {"min": 1}}]),
    version=st.sampled_from(["1.0", "2.0"]),
    options=st.fixed_dictionaries(
        {
            "use_dictionary": st.booleans(),
            "row_group_size": st.sampled_from([1, 5, 100]),
            "compression": st.sampled_from(["none", "snappy", "lz4"]),
            "store_schema": st.booleans(),
            "data_page_size": st.sampled_from([1, 2**20]),
        }
    ),
)
def test_any_file_is_documents_or_bad_input(
    tmp_path_factory: pytest.TempPathFactory,
    table: pa.Table,
    field: str,
    where: dict[str, Any],
    version: str,
    options: dict[str, Any],
) -> None:
    store = Store(str(tmp_path_factory.getbasetemp()))
    path = tmp_path_factory.getbasetemp() / "x.parquet"
    try:
        pq.write_table(table, path, data_page_version=version, **options)
    except pa.ArrowNotImplementedError:  # Views in structs, in several row groups.
        reject()
    spec = SourceSpec("books", ("raw",), text_field=field, where=conditions(where))
    items = list(read(store, "x.parquet", spec))
    assert items
    assert all(isinstance(item, str | LeftOut | BadInput) for item in items)
    # Arrow cannot read all that it writes: the rest of the object is bad input then.
    rest = [
        item
        for item in items
        if isinstance(item, BadInput) and item.where.startswith(("the whole", "after row"))
    ]
    rows = sum(item.count if isinstance(item, LeftOut) else 1 for item in items)
    assert rows == len(table) or rest
    if field == "text" and not where and pa.types.is_string(table.schema.field("text").type):
        expected = [value for value in table["text"].to_pylist() if value is not None]
        assert [item for item in items if isinstance(item, str)] == expected
    list(read(store, "x.parquet", SourceSpec("talk", ("raw",), format="chat")))


DAMAGES = """
import sys
from pathlib import Path
from longspan.corpus.bad_input import BadInput
from longspan.corpus.sources import SourceSpec, read
from longspan.storage import Store

path, count = Path(sys.argv[1]), 0
whole = path.read_bytes()
footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
store = Store(str(path.parent))
for at in range(footer, len(whole)):
    for bits in (1, 128, 255):
        damaged = bytearray(whole)
        damaged[at] ^= bits
        path.write_bytes(damaged)
        for format in ("parquet", "chat"):
            for item in read(store, path.name, SourceSpec("x", ("x",), format=format)):
                count += isinstance(item, BadInput)
print(count)
"""


def test_no_damage_of_a_footer_ends_the_process(tmp_path: Path) -> None:
    """Arrow does not turn all C++ errors of a column chunk's metadata into Python exceptions."""
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    table = pa.table({"text": ["a", "b"], "messages": [talk, talk]})
    pq.write_table(table, tmp_path / "x.parquet", store_schema=False)
    done = subprocess.run(
        [sys.executable, "-c", DAMAGES, str(tmp_path / "x.parquet")],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 1000


def test_encrypted_columns_are_told() -> None:
    column: Any = SimpleNamespace(
        path="text", max_repetition_level=0, max_definition_level=1, physical_type="BYTE_ARRAY"
    )
    assert _problem({3: {4: 1}}, column) is None
    assert _problem({3: {4: 1}, 8: {}}, column) == "it is encrypted"
    assert _problem({3: {4: 1, 16: {3: [1, 1]}}}, column) is None
