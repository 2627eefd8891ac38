"""Opening Parquet runs no code and is bounded, whatever the file says of its types and sizes."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longspan.errors import UserError
from longspan.generate.tables import each_row, read_table
from longspan.history.records import read as history
from longspan.shards.token_shards import Block, read_block, read_index
from longspan.storage import Store
from longspan.storage.bounds import TooLarge
from longspan.storage.parquet import RefusedColumn, open_parquet
from tests.raw import extension_field, hostile_parquet, hostile_when_opened, with_column

OBJECT = "ray.data.arrow_pickled_object"
BLOB = extension_field("blob", pa.large_binary(), OBJECT)

NESTED = [
    (BLOB, b"x", "blob"),
    (pa.field("s", pa.struct([BLOB])), {"blob": b"x"}, "s.blob"),
    (pa.field("l", pa.list_(pa.struct([BLOB]))), [{"blob": b"x"}], "l.item.blob"),
    (pa.field("f", pa.list_(BLOB, 1)), [b"x"], "f.blob"),
    (pa.field("m", pa.map_(pa.string(), BLOB)), [("a", b"x")], "m.entries.value"),
    (extension_field("d", pa.dictionary(pa.int32(), pa.binary()), OBJECT), b"x", "d"),
    (extension_field("u", pa.string(), OBJECT), "x", "u"),
]


@pytest.mark.parametrize(("field", "value", "column"), NESTED, ids=lambda value: str(value)[:12])
def test_extension_types_are_refused_wherever_they_are(
    field: pa.Field, value: object, column: str
) -> None:
    data = pa.py_buffer(with_column(field, [value], ["a"]))
    with pytest.raises(
        RefusedColumn, match=rf"'{column}' has the extension type '{OBJECT}'.*plain"
    ):
        open_parquet(data, ["text"])


# What this prints must not depend on Ray Data being imported.
PROGRAM = """
import json, sys
if sys.argv[1] == "ray":
    import ray.data
import pyarrow as pa, pyarrow.parquet as pq
from pathlib import Path
from longspan.storage.parquet import open_parquet
found = []
for path in sys.argv[3:]:
    try:
        table = open_parquet(pa.py_buffer(Path(path).read_bytes())).read()
        found.append(str(table.to_pylist()))
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
harmless = not Path(sys.argv[2]).exists()
for path in sys.argv[3:]:
    try:
        pq.read_table(path).to_pylist()
    except Exception:
        pass
print(json.dumps([found, harmless, Path(sys.argv[2]).exists()]))
"""


def answers(imported: str, marker: Path, paths: list[Path]) -> list:
    # As Ray Data 2.49 to 2.54 did by itself.
    environment = os.environ | {"RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA": "1"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, imported, marker, *paths],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("hostile", [hostile_when_opened, lambda at: hostile_parquet(["a"], at)])
def test_no_code_runs_and_the_answer_does_not_depend_on_what_is_imported(
    tmp_path: Path, hostile
) -> None:
    marker, path = tmp_path / "marker", tmp_path / "x.parquet"
    path.write_bytes(hostile(str(marker)))
    plain, _, _ = answers("nothing", marker, [path])
    with_ray, harmless, pyarrow_runs_it = answers("ray", marker, [path])
    assert plain == with_ray
    assert plain[0].startswith("RefusedColumn: column ")
    assert harmless
    assert pyarrow_runs_it, "the file would do no harm to any reader"


def stored_twice(first: bytes, schema: pa.Schema) -> pa.Buffer:
    """A file with two Arrow schemas, of which readers take the first."""
    sink = pa.BufferOutputStream()
    described = schema.with_metadata({"ARROW:schema": first})
    pq.write_table(pa.table({"blob": pa.array([b"x"], pa.large_binary())}, schema=described), sink)
    return sink.getvalue()


def encoded(field: pa.Field) -> bytes:
    return base64.b64encode(pa.schema([field]).serialize().to_pybytes())


def test_it_does_not_matter_which_of_two_schemas_a_reader_takes() -> None:
    plain = pa.field("blob", pa.large_binary())
    for first, second in [(plain, BLOB), (BLOB, plain)]:
        with pytest.raises(RefusedColumn, match="blob"):
            open_parquet(stored_twice(encoded(first), pa.schema([second])))


@pytest.mark.parametrize(
    "spelled",
    [
        lambda text: text[:40] + b"\n" + text[40:],
        lambda text: b"=" + text,
        lambda text: text.replace(b"/", b"_"),
        # Without the first four bytes, as Arrow wrote it before version 0.15.
        lambda text: base64.b64encode(base64.b64decode(text)[4:]),
        # A harmless message follows.
        lambda text: text + b"\0" + encoded(pa.field("id", pa.uuid())),
    ],
)
def test_no_spelling_of_a_schema_hides_a_type(spelled) -> None:
    data = stored_twice(spelled(encoded(BLOB)), pa.schema([pa.field("blob", pa.large_binary())]))
    try:
        seen = pq.ParquetFile(data).schema_arrow.field("blob").metadata
    except pa.ArrowException:
        return  # No reader takes it.
    if seen:
        with pytest.raises((RefusedColumn, pa.ArrowInvalid)):
            open_parquet(data)


def test_types_of_arrow_itself_that_run_no_code_are_read() -> None:
    fields = [pa.field("id", pa.uuid()), pa.field("j", pa.json_()), pa.field("flag", pa.bool8())]
    storage = [pa.array([bytes(16)], pa.binary(16)), pa.array(["{}"]), pa.array([1], pa.int8())]
    columns = [
        pa.ExtensionArray.from_storage(field.type, array)
        for field, array in zip(fields, storage, strict=True)
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=pa.schema(fields)), sink)
    assert open_parquet(sink.getvalue()).read(["j"]).to_pylist() == [{"j": "{}"}]


def test_a_file_of_many_rows_in_a_few_bytes_is_refused_before_it_is_read() -> None:
    rows = 100_000_000
    ones = pa.repeat(pa.scalar(1, pa.int8()), rows)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"n": ones, "m": pa.nulls(rows)}), sink, compression="zstd")
    data = sink.getvalue()
    assert data.size < 1_000_000
    with pytest.raises(TooLarge, match="100,000,000 rows"):
        open_parquet(data, ["n"])
    assert open_parquet(data, ["text"]).metadata.num_rows == rows


@pytest.mark.parametrize("data", [b"x", b"PAR1" * 4, b"PAR1" + b"\xff" * 8 + b"PAR1", bytes(99)])
def test_other_files_are_errors(data: bytes) -> None:
    with pytest.raises((OSError, pa.ArrowException)):
        open_parquet(pa.py_buffer(data))


def test_stored_records_are_opened_by_the_same_rules(tmp_path: Path) -> None:
    """Shards, histories and what self-instruct keeps, if somebody else can write them."""
    store, marker = Store(str(tmp_path)), str(tmp_path / "marker")
    store.write_bytes("x.parquet", hostile_parquet(["a"], marker))
    block = Block("x.parquet", 0, 1, 1)
    for read in (
        lambda: read_block(store, block),
        lambda: read_index(store, block),
        lambda: history(store, "x.parquet"),
        lambda: read_table(store, "x.parquet", ["text"]),
        lambda: list(each_row(store, "x.parquet")),
    ):
        with pytest.raises(UserError, match=r"x\.parquet.*'image' has the extension type"):
            read()
    assert not Path(marker).exists()
