"""Stored evaluations are read with clear errors, and two of them are compared sample by sample."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longspan.errors import UserError
from longspan.evaluate.records import write_records
from longspan.evaluate.report.command import compare
from longspan.evaluate.report.compare import (
    compare_page,
    compare_stored,
    compare_text,
    why_unpaired,
)
from longspan.evaluate.report.load import load_results, load_samples
from longspan.evaluate.results import Results, SampleRecord
from longspan.storage import Store
from tests.evaluate.report_fixtures import comparison, empty_results, sample_record, whole_results


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def record(index: int, score: float | None) -> SampleRecord:
    return sample_record("vt", 1024, index, "7051283", score)


def write(store: Store, path: str, results: Results, records: list[SampleRecord]) -> None:
    store.write_bytes(f"{path}/results.json", results.model_dump_json().encode())
    write_records(store, path, records)


def test_what_was_written_is_read(store: Store):
    records = [record(index, [0.0, 1.0, None][index % 3]) for index in range(9)]
    write(store, "runs/a", whole_results(), records[::-1])
    for path in ("runs/a", "runs/a/", "runs/a/results.json", store.uri("runs/a")):
        assert load_results(store, path) == whole_results()
        assert load_samples(store, path) == {"vt": records}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "there is no such file; give the folder", id="absent"),
        pytest.param(b"{", "is no JSON", id="no JSON"),
        pytest.param(b"[]", "is no results file", id="a list"),
        pytest.param(b'{"loss": 1}', "is no results file", id="another file"),
        pytest.param(b'{"schema_version": 99}', "schema_version 99, this version", id="a version"),
        pytest.param(b'{"schema_version": 1}', "is damaged at name", id="incomplete"),
    ],
)
def test_other_files_are_refused(store: Store, content: bytes | None, message: str):
    if content is not None:
        store.write_bytes("a/results.json", content)
    with pytest.raises(UserError, match=message):
        load_results(store, "a")


def test_a_key_of_a_later_version_is_named(store: Store):
    stored = json.loads(empty_results().model_dump_json()) | {"surprise": 1}
    store.write_bytes("a/results.json", json.dumps(stored).encode())
    with pytest.raises(UserError, match="is damaged at surprise"):
        load_results(store, "a")


def test_a_file_that_holds_no_samples_is_named(store: Store):
    write(store, "a", empty_results(), [])
    path = Path(store.root) / "a/samples/vt.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"text": ["x"]}), path)
    with pytest.raises(UserError, match=r"vt\.parquet: holds no samples"):
        load_samples(store, "a")
    path.write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"vt\.parquet: holds no samples"):
        load_samples(store, "a")


def test_two_evaluations_are_paired_by_sample(store: Store):
    worse = [record(index, float(index % 4 > 1)) for index in range(40)]
    better = [record(index, float(index % 4 > 0)) for index in range(40)]
    write(store, "a", whole_results(), better)
    write(store, "b", empty_results(), worse[:36])
    found = compare_stored(store, "a", "b")
    (at_length, overall) = found.differences
    assert (at_length.length, overall.length) == (1024, None)
    assert (overall.wins, overall.ties, overall.losses, overall.left_out) == (9, 27, 0, 4)
    assert overall.difference.value == pytest.approx(0.25)
    # The same model twice: the evaluations tell the two apart.
    assert found.model == "extended (fixture)" and found.reference == "extended (empty)"
    text = compare_text(found)
    assert "+25.0" in text and "9 / 27 / 0" in text and "36 (-4)" in text
    assert "+25.0" in compare_page(found)


def test_the_command_prints_and_writes_a_comparison(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for name, score in (("a", 1.0), ("b", 0.0)):
        write(store, f"evaluate/{name}", whole_results(), [record(n, score) for n in range(20)])
    html = tmp_path / "difference.html"
    given = ["evaluate/a", "evaluate/b/results.json", "--root", store.root]
    assert compare([*given, "--html", str(html)]) == 0
    assert "+100.0" in capsys.readouterr().out and "+100.0" in html.read_text()


def test_evaluations_without_a_shared_sample_say_why(store: Store):
    other = whole_results()
    other = other.model_copy(update={"provenance": other.provenance.model_copy(update={"seed": 8})})
    write(store, "a", whole_results(), [record(0, 1.0)])
    write(store, "b", other, [record(1, 1.0)])
    write(store, "c", other, [])
    with pytest.raises(UserError, match=r"differ in seed \(7 and 8\); evaluate both"):
        compare_stored(store, "a", "b")
    with pytest.raises(UserError, match="has no samples beside its results"):
        compare_stored(store, "a", "c")
    assert "same tasks and lengths" in why_unpaired(other, other)


def test_the_comparison_is_plain_text_of_bounded_width():
    text = compare_text(comparison())
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("none found") == 10 and "all corpora" in text
