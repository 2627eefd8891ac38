"""Stored evaluations are read with clear errors, and two of them are compared sample by sample."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longspan.errors import UserError
from longspan.evaluate.losses.stored import StoredLosses, write_context_losses
from longspan.evaluate.losses.sums import LossSums
from longspan.evaluate.records import write_records
from longspan.evaluate.report.compare import (
    compare_page,
    compare_stored,
    compare_text,
    why_unpaired,
)
from longspan.evaluate.report.load import load_results, load_samples
from longspan.evaluate.results import Results, SampleRecord
from longspan.evaluate.suite_samples import read_suite_samples, write_suite_samples
from longspan.evaluate.suites.schema import PromptCut
from longspan.evaluate.suites.scores import SuiteSample
from longspan.storage import Store
from tests.evaluate.report_fixtures import (
    SUITES,
    comparison,
    empty_results,
    sample_record,
    whole_results,
)
from tests.in_process import main_of


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
    write(store, "b", whole_results().model_copy(update={"name": "other"}), worse[:36])
    found = compare_stored(store, "a", "b")
    (at_length, overall) = found.differences
    assert (at_length.length, overall.length) == (1024, None)
    assert (overall.wins, overall.ties, overall.losses, overall.left_out) == (9, 27, 0, 4)
    assert overall.difference.value == pytest.approx(0.25)
    # The same model twice: the evaluations tell the two apart.
    assert found.model == "extended (fixture)" and found.reference == "extended (other)"
    text = compare_text(found)
    assert "+25.0" in text and "9 / 27 / 0" in text and "36 (-4)" in text
    assert "+25.0" in compare_page(found)


def test_samples_of_tasks_that_are_not_in_both_results_are_not_compared(store: Store):
    records = [record(index, 1.0) for index in range(8)]
    dropped = [each.model_copy(update={"task": "ruler_cwe"}) for each in records]
    results = whole_results()
    write(store, "a", results, [*records, *dropped])
    write(store, "b", results, [*records, *dropped])
    assert {each.task for each in compare_stored(store, "a", "b").differences} == {"vt"}
    write(store, "b", results.model_copy(update={"tasks": []}), records)
    with pytest.raises(UserError, match="b: has no samples beside its results"):
        compare_stored(store, "a", "b")


def suite_samples(*scores: float, metric: str = "exact_match") -> list[SuiteSample]:
    return [
        SuiteSample(f"q{at}", "gsm8k_cot", metric, f"q{at}", score, "42", "", False, False)
        for at, score in enumerate(scores)
    ]


def suites_only(**changes: Any) -> Results:
    """Results of one metric of one suite's task."""
    suites = [SUITES[0].model_copy(update=changes)]
    return whole_results().model_copy(update={"tasks": [], "suites": suites})


def test_suites_are_paired_by_question(store: Store):
    for name, scores in (("a", (1, 1, 1, 0)), ("b", (0, 0, 1, 0, 1))):
        write(store, name, suites_only(), [])
        write_suite_samples(store, name, suite_samples(*scores))
    found = compare_stored(store, "a", "b")
    (paired,) = found.differences
    assert (paired.task, paired.length) == ("gsm8k_cot (exact_match)", None)
    assert (paired.wins, paired.ties, paired.losses, paired.left_out) == (2, 2, 0, 1)
    assert paired.difference.value == 0.5
    assert "gsm8k_cot (exact_match)  all  +50.0" in re.sub(" +", "  ", compare_text(found)).replace(
        "gsm8k_cot  (exact", "gsm8k_cot (exact"
    )


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"shots": 5}, id="shots"),
        pytest.param({"version": "3"}, id="version"),
        pytest.param({"prompt_cut": PromptCut(tokens=9)}, id="length of prompts"),
        pytest.param({"metric": "acc"}, id="metric"),
    ],
)
def test_suites_of_other_settings_are_not_compared(store: Store, changes: dict[str, Any]):
    for name, results in (("a", suites_only()), ("b", suites_only(**changes))):
        write(store, name, results, [])
        write_suite_samples(store, name, suite_samples(1.0, 0.0))
    with pytest.raises(UserError, match="share no sample"):
        compare_stored(store, "a", "b")


def test_suites_in_another_template_are_not_compared(store: Store):
    completed = suites_only()
    completed = completed.model_copy(
        update={"model": completed.model.model_copy(update={"template": "none"})}
    )
    for name, results in (("a", suites_only()), ("b", completed)):
        write(store, name, results, [])
        write_suite_samples(store, name, suite_samples(1.0, 0.0))
    with pytest.raises(UserError, match="differ in chat template"):
        compare_stored(store, "a", "b")


def test_suite_samples_are_the_same_bytes_in_any_order_and_are_read(store: Store):
    samples = [*suite_samples(1.0, 0.25), *suite_samples(0.0, metric="acc")]
    samples[0] = replace(samples[0], score=None, reply="", problem="refused: no")
    write_suite_samples(store, "a", samples)
    write_suite_samples(store, "b", samples[::-1])
    assert store.read_bytes("a/suite_samples.parquet") == store.read_bytes(
        "b/suite_samples.parquet"
    )
    assert read_suite_samples(store, "a/suite_samples.parquet") == [samples[2], *samples[:2]]


def losses(scale: float, contexts: tuple[int, ...] = (64, 128), documents: int = 3) -> StoredLosses:
    counts = np.full((documents, len(contexts)), 32)
    counts[-1, -1] = 0
    names = tuple(f"d{number}" for number in range(documents))
    corpora = ("books", *["code"] * (documents - 1))
    sums = scale * counts * np.linspace(2, 3, counts.size).reshape(counts.shape)
    return StoredLosses(LossSums(names, corpora, sums, counts), contexts)


def losses_only(**changes: Any) -> Results:
    results = whole_results().model_copy(update={"tasks": [], "suites": []})
    provenance = results.provenance.model_copy(update=changes)
    return results.model_copy(update={"provenance": provenance})


def test_losses_of_the_same_tokens_are_compared(store: Store):
    for name, scale in (("a", 1.02), ("b", 1.0)):
        write(store, name, losses_only(), [])
        write_context_losses(store, name, losses(scale))
    found = compare_stored(store, "a", "b")
    assert [(each.corpus, each.context, each.change.n) for each in found.loss_changes] == [
        *((None, 64, 96), (None, 128, 64)),
        *(("books", 64, 32), ("books", 128, 32), ("code", 64, 64), ("code", 128, 32)),
    ]
    assert [each.change.value for each in found.loss_changes] == pytest.approx([0.02] * 6)
    assert "+2.0" in compare_text(found) and "w / t / l" not in compare_text(found)
    assert "+2.0" in compare_page(found)


@pytest.mark.parametrize(
    ("changes", "stored"),
    [
        pytest.param({}, losses(1.0, (64, 256)), id="contexts"),
        pytest.param({}, losses(1.0, documents=4), id="documents"),
        pytest.param({"seed": 8}, losses(1.0), id="seed"),
        pytest.param({"documents_hash": "other"}, losses(1.0), id="source"),
    ],
)
def test_losses_of_other_tokens_are_not_compared(
    store: Store, changes: dict[str, Any], stored: StoredLosses
):
    write(store, "a", losses_only(), [])
    write_context_losses(store, "a", losses(1.0))
    write(store, "b", losses_only(**changes), [])
    write_context_losses(store, "b", stored)
    with pytest.raises(UserError, match="share no sample"):
        compare_stored(store, "a", "b")


@pytest.mark.parametrize("name", ["suite_samples.parquet", "losses.parquet"])
def test_a_damaged_file_of_scores_is_named(store: Store, name: str):
    write(store, "a", whole_results(), [record(0, 1.0)])
    store.write_bytes(f"a/{name}", b"PAR1")
    with pytest.raises(UserError, match=rf"{name}: holds no scores or losses"):
        compare_stored(store, "a", "a")
    pq.write_table(pa.table({"text": ["x"]}), Path(store.root) / "a" / name)
    with pytest.raises(UserError, match=rf"{name}: holds no scores or losses"):
        compare_stored(store, "a", "a")


def test_an_evaluation_that_is_not_there_is_looked_for_below_root(store: Store):
    write(store, "evaluate/a", whole_results(), [record(0, 1.0)])
    with pytest.raises(UserError, match=rf"evaluate/b: there is no .*--root \(now {store.root}\)"):
        main_of("evaluate")(["compare", "evaluate/a", "evaluate/b", "--root", store.root])


def test_the_command_prints_and_writes_a_comparison(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for name, score in (("a", 1.0), ("b", 0.0)):
        write(store, f"evaluate/{name}", whole_results(), [record(n, score) for n in range(20)])
    html = tmp_path / "difference.html"
    given = ["evaluate/a", "evaluate/b/results.json", "--root", store.root]
    assert main_of("evaluate")(["compare", *given, "--html", str(html)]) == 0
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
