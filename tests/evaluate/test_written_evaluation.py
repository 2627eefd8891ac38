"""What an evaluation leaves in its folder: its own results, and nothing of an earlier recipe."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from longspan.errors import UserError
from longspan.evaluate import job
from longspan.evaluate.ask import Asked
from longspan.evaluate.assemble import Measured
from longspan.evaluate.losses.stored import StoredLosses
from longspan.evaluate.losses.sums import LossSums
from longspan.evaluate.prepare import Prepared
from longspan.evaluate.records import write_records
from longspan.evaluate.report.load import load_evaluation
from longspan.evaluate.results import Results
from longspan.evaluate.suites.run import SuiteRun
from longspan.evaluate.suites.scores import SuiteSample
from longspan.storage import Store
from longspan.storage.preflight import LIST_ROOT
from tests.evaluate.report_fixtures import sample_record, whole_results

OUTCOME = ("results.json", "report.html", "suite_samples.parquet", "losses.parquet")
QUESTION = SuiteSample("q", "arc", "acc", "q", 1.0, "", "", False, False)


@pytest.fixture
def prepared(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """An evaluation whose folder has the outcome of an earlier one."""
    store: Any = Store(str(tmp_path))
    for name in OUTCOME:
        store.write_bytes(f"evaluate/e/{name}", b"earlier")
    for folder in ("evaluate/e", "evaluate/e/reference"):
        for task in ("vt", "dropped"):
            write_records(store, folder, [sample_record(task, 512, 0, "x", 1.0)])
    monkeypatch.setattr(job, "needs", lambda prepared: [LIST_ROOT])
    given: Any = SimpleNamespace(store=store, folder="evaluate/e")
    return given


def measured(*names: str) -> list[Measured]:
    records = [sample_record("vt", 512, 0, "x", 1.0)]
    suites = SuiteRun([], [QUESTION])
    model: Any = None
    losses: Any = StoredLosses(
        LossSums(("d",), ("books",), np.array([[96.0, 64.0]]), np.array([[32, 32]])), (64, 128)
    )
    return [Measured(model, Asked(records), losses, suites) for _ in names]


def names_in(prepared: Prepared) -> set[str]:
    return {item.path.removeprefix("evaluate/e/") for item in prepared.store.list("evaluate/e/**")}


def test_an_evaluation_that_fails_leaves_no_earlier_outcome(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise UserError("endpoint: does not answer")

    monkeypatch.setattr(job, "evaluate", fail)
    with pytest.raises(UserError, match="does not answer"):
        job.write_evaluation(prepared, print)
    assert not names_in(prepared) & set(OUTCOME)


@pytest.mark.parametrize(
    ("models", "of_reference"),
    [
        pytest.param(["model", "reference"], {"reference/samples/vt.parquet"}, id="a reference"),
        pytest.param(["model"], set(), id="no reference any more"),
    ],
)
def test_samples_of_tasks_that_are_not_in_the_results_are_deleted(
    prepared: Prepared,
    monkeypatch: pytest.MonkeyPatch,
    models: list[str],
    of_reference: set[str],
) -> None:
    results = whole_results()
    monkeypatch.setattr(job, "evaluate", lambda *given: (results, measured(*models)))
    assert job.write_evaluation(prepared, print) == results
    assert names_in(prepared) == {
        *OUTCOME,
        "samples/vt.parquet",
        *of_reference,
    }
    stored = load_evaluation(prepared.store, "evaluate/e")
    assert isinstance(stored.results, Results) and stored.suites == [QUESTION]
    assert stored.samples.keys() == {"vt"} and stored.losses is not None
    assert stored.losses.contexts == (64, 128) and stored.losses.by_context.documents == ("d",)
    assert stored.losses.by_context.sums.tolist() == [[96.0, 64.0]]
