"""Checkpoints of a running job are evaluated, each once; the run itself is left alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from longspan.errors import UserError
from longspan.evaluate.curves import measurements_in
from longspan.evaluate.results import Results
from longspan.evaluate.watch import Polling, WatchedEvaluation, WatchedRun, Watcher, WatchResult
from longspan.model.source import revision
from longspan.observe.evaluations import Measurement, measurements_of
from longspan.observe.metrics import MetricsLog, read_metrics
from longspan.storage import Store
from longspan.storage.preflight import require_access
from tests.evaluate.made_results import results
from tests.s3 import S3Server, credentials
from tests.train.made_run import MadeRun

WORKSPACE = "evaluate/quick/checkpoints"
SCORE = "score/niah_single_1/128"


@dataclass
class Time:
    """A clock that only waiting moves; something may happen while it is waited."""

    now: float = 0.0
    waits: list[float] = field(default_factory=list)
    events: list[Callable[[], object]] = field(default_factory=list)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)
        if self.events:
            self.events.pop(0)()

    @property
    def polling(self) -> Polling:
        return Polling(10.0, 35.0, clock=lambda: self.now, wait=self.wait)


class Evaluations:
    """Evaluates by looking at the weights; keeps what it was given."""

    def __init__(self, run: MadeRun) -> None:
        self.run = run
        self.updates: list[int] = []
        self.revisions: list[str] = []
        self.during: Callable[[int], object] = lambda update: None

    def __call__(self, model: str, update: int) -> Results:
        self.updates.append(update)
        self.revisions.append(revision(model, self.run.store))
        found = load_file(Path(model) / "model.safetensors")["model.norm.weight"]
        assert torch.equal(found, self.run.masters(update)["model.norm.weight"].bfloat16())
        self.during(update)
        return results(update / 100)


@pytest.fixture
def made(tmp_path: Path, tiny_model: Path) -> MadeRun:
    run = MadeRun(Store(str(tmp_path / "store")), tiny_model)
    run.start()
    return run


@pytest.fixture
def evaluations(made: MadeRun) -> Evaluations:
    return Evaluations(made)


def watch(
    evaluations: Evaluations, time: Time | None = None, log: Callable[[str], None] = print
) -> WatchResult:
    made = evaluations.run
    run = WatchedRun(made.store, made.record.name)
    watcher = Watcher(
        run, WatchedEvaluation("quick", WORKSPACE), evaluations, (time or Time()).polling, log
    )
    return watcher.watch()


def evaluated(made: MadeRun) -> dict[int, float]:
    """Score by update, as the run's metrics have it."""
    found: dict[int, float] = {}
    for record in read_metrics(made.store, f"{made.path}/metrics"):
        for each in measurements_of(record):
            if each.name == SCORE:
                found[record["update"]] = each.value
    return found


def test_checkpoints_of_a_finished_run_are_evaluated_the_newest_first(
    made: MadeRun, evaluations: Evaluations
) -> None:
    for update in (10, 20, 30):
        made.save(update)
    made.finish()
    time = Time()
    assert watch(evaluations, time) == WatchResult((30, 20, 10), (), "finished")
    assert time.waits == []
    assert evaluated(made) == {10: 0.1, 20: 0.2, 30: 0.3}
    assert made.store.list(WORKSPACE) == []
    assert watch(evaluations) == WatchResult((), (), "finished")


def test_one_that_is_committed_meanwhile_comes_before_older_ones(
    made: MadeRun, evaluations: Evaluations
) -> None:
    for update in (10, 20):
        made.save(update)

    def go_on(update: int) -> None:
        if update == 20:
            made.save(30)
            # Nothing is missed although the run ends between two looks at it.
            made.finish()

    evaluations.during = go_on
    assert watch(evaluations).evaluated == (20, 30, 10)


def test_a_run_is_waited_for_until_nothing_changes_for_long(
    made: MadeRun, evaluations: Evaluations
) -> None:
    def train() -> None:
        made.store.write_bytes(f"{made.path}/metrics/part-000000.jsonl", b"")

    time = Time(events=[lambda: None, lambda: None, train, lambda: made.save(10)])
    lines: list[str] = []
    assert watch(evaluations, time, lines.append) == WatchResult((10,), (), "idle")
    # Changed at 30 s and 40 s; what the evaluation itself writes is no change.
    assert time.waits == [10.0] * 8
    assert lines[-1].startswith(f"nothing has changed in {made.store.uri(made.path)} for 40 s")


def test_a_stopped_watcher_resumes_with_the_same_files(
    made: MadeRun, evaluations: Evaluations
) -> None:
    for update in (10, 20):
        made.save(update)
    made.finish()

    def fail(update: int) -> None:
        if update == 10:
            raise UserError("the engine does not start")

    evaluations.during = fail
    with pytest.raises(UserError, match="does not start"):
        watch(evaluations)
    assert evaluated(made) == {20: 0.2}
    evaluations.during = lambda update: None
    assert watch(evaluations).evaluated == (10,)
    assert evaluations.updates == [20, 10, 10]
    assert evaluations.revisions[1] == evaluations.revisions[2]


def test_deleted_and_damaged_checkpoints_are_skipped(
    made: MadeRun, evaluations: Evaluations, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = made.save(20)
    Path(made.store.root, damaged.parts[0].path).write_bytes(b"x")
    for update in (10, 30):
        made.save(update)
    made.finish()
    local = made.store.local

    def prune(path: str, version: str | None = None) -> Any:
        if "update-0000030" in path and path.endswith("part-00001.safetensors"):
            made.checkpoints.delete(30)
        return local(path, version)

    monkeypatch.setattr(made.store, "local", prune)
    lines: list[str] = []
    assert watch(evaluations, log=lines.append) == WatchResult((10,), (30, 20), "finished")
    skipped = [line for line in lines if line.startswith("checkpoint skipped")]
    assert "no checkpoint after 30 updates (any more)" in skipped[0]
    assert "after 20 updates" in skipped[1] and "not what was written" in skipped[1]


def test_a_checkpoint_that_is_written_again_is_evaluated_again(
    made: MadeRun, evaluations: Evaluations
) -> None:
    made.save(10)
    made.finish()
    watch(evaluations)
    made.save(10, attempt_id="second")
    assert watch(evaluations).evaluated == (10,)
    assert evaluated(made) == {10: 0.1}


def test_the_run_is_only_read(made: MadeRun, evaluations: Evaluations) -> None:
    made.checkpoints.acquire_lease("first")
    MetricsLog(made.store, f"{made.path}/metrics").log(
        {"kind": "event", "update": 0, "event": "started"}
    )
    made.save(10)
    made.finish()
    run = WatchedRun(made.store, made.record.name)
    before = run.versions()
    watch(evaluations)
    assert run.versions() == before
    added = {item.path for item in made.store.list(made.path)} - before.keys()
    metrics, board = sorted(path.removeprefix(f"{made.path}/") for path in added)
    assert metrics == "metrics/evaluation-quick-000000.jsonl"
    assert board.startswith("tensorboard/evaluation-quick/events.out.tfevents.")


def test_evaluations_are_metrics_of_the_run_beside_the_jobs_own(
    made: MadeRun, evaluations: Evaluations
) -> None:
    job = MetricsLog(made.store, f"{made.path}/metrics", lines_per_part=1)
    job.log({"kind": "update", "update": 1, "time": 1.0, "loss": 2.0})
    made.save(10)
    watch(evaluations)
    made.save(20)
    made.finish()
    watch(evaluations)
    job.log({"kind": "update", "update": 2, "time": 2.0, "loss": 1.9})
    job.close()
    records = read_metrics(made.store, f"{made.path}/metrics")
    assert [(each["kind"], each["update"]) for each in records] == [
        ("update", 1),
        ("update", 2),
        ("evaluation", 10),
        ("evaluation", 20),
    ]
    assert records[-1]["evaluation"] == "quick"
    assert list(measurements_of(records[-1])) == measurements_in(results(0.2))
    assert list(measurements_of(records[0])) == []


def test_tensorboard_shows_curves_with_their_intervals(
    made: MadeRun, evaluations: Evaluations
) -> None:
    for update in (10, 20):
        made.save(update)
        watch(evaluations)
    multiplexer = EventMultiplexer().AddRunsFromDirectory(
        made.store.uri(f"{made.path}/tensorboard")
    )
    multiplexer.Reload()
    assert list(multiplexer.Runs()) == ["evaluation-quick"]
    for tag, expected in (
        (f"evaluation/{SCORE}", [(10, 0.1), (20, 0.2)]),
        (f"evaluation_interval/{SCORE}/high", [(10, 0.2), (20, 0.3)]),
    ):
        events = multiplexer.Scalars("evaluation-quick", tag)
        assert [(event.step, pytest.approx(event.value)) for event in events] == expected


def test_curves_are_of_all_depths_together() -> None:
    found = {each.name: each for each in measurements_in(results(0.6))}
    assert sorted(found) == [
        "loss/books/context/64",
        "loss/books/last_doubling_gain",
        "loss/books/position/0-128",
        "score/niah_single_1/128",
        "score/niah_single_1/256",
        "suite/arc/acc",
        "suite/qasper/f1",
    ]
    assert found[SCORE] == Measurement(SCORE, 0.6, 0.6 - 0.1, 0.6 + 0.1, 50)
    assert found["suite/arc/acc"].high == pytest.approx(0.598)
    assert (found["suite/qasper/f1"].low, found["suite/qasper/f1"].n) == (None, 10)


def test_what_was_not_measured_is_a_gap_in_its_curve() -> None:
    whole = results(0.6)
    (task,) = whole.tasks
    cells = [
        cell.model_copy(update={"score": None}) if cell.length == 256 else cell
        for cell in task.cells
    ]
    suites = [suite.model_copy(update={"value": None}) for suite in whole.suites]
    tasks = [task.model_copy(update={"cells": cells})]
    found = measurements_in(whole.model_copy(update={"tasks": tasks, "suites": suites}))
    assert [each.name for each in found if not each.name.startswith("loss/")] == [SCORE]


def test_a_run_of_an_earlier_version_is_refused(made: MadeRun, evaluations: Evaluations) -> None:
    made.store.delete(f"{made.path}/run.json")
    made.save(10)
    with pytest.raises(UserError, match=r"has no run\.json: .*submit its job again"):
        watch(evaluations)


def test_a_run_that_is_not_there_is_named(made: MadeRun, evaluations: Evaluations) -> None:
    with pytest.raises(UserError, match=r"--watch: there is no run in .*runs/other; start its job"):
        Watcher(WatchedRun(made.store, "other"), WatchedEvaluation("quick", WORKSPACE), evaluations)


def test_what_watching_needs_is_permitted_in_a_folder(made: MadeRun) -> None:
    before = made.store.list("")
    require_access(made.store, WatchedRun(made.store, "made").needs(WORKSPACE))
    assert made.store.list("") == before


@pytest.mark.real
@pytest.mark.deep
def test_a_run_on_s3_is_watched(s3_server: S3Server, tiny_model: Path) -> None:
    with credentials(s3_server.owner):
        store = Store(f"s3://{s3_server.bucket}/watched", endpoint=s3_server.endpoint)
        made = MadeRun(store, tiny_model)
        made.start()
        for update in (10, 20):
            made.save(update)
        made.finish()
        run = WatchedRun(store, made.record.name)
        require_access(store, run.needs(WORKSPACE))
        models: list[str] = []

        def evaluate(model: str, update: int) -> Results:
            models.append(model)
            assert store.exists(f"{model}/model.safetensors")
            return results(update / 100)

        assert Watcher(run, WatchedEvaluation("quick", WORKSPACE), evaluate).watch().evaluated == (
            20,
            10,
        )
        assert models[0] == store.uri(f"{WORKSPACE}/update-0000020/model")
        assert evaluated(made) == {10: 0.1, 20: 0.2}
        assert store.list(WORKSPACE) == []
        assert Watcher(run, WatchedEvaluation("quick", WORKSPACE), evaluate).watch().evaluated == ()
