"""Evaluating the committed checkpoints of a run while it goes on.

The run is only read, but for files of the evaluation's own below ``runs/<name>/metrics`` and ``tensorboard``: its
lease, its checkpoints and its workers are left alone. What is done is known from those metrics, so that a watcher
that was stopped resumes where it ended.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from longspan.errors import UserError
from longspan.evaluate.curves import measurements_in
from longspan.evaluate.results import Results
from longspan.observe.evaluations import evaluation_record
from longspan.observe.metrics import MetricsLog, evaluation_stem, read_metrics
from longspan.observe.raymetrics import RayEvaluationMetrics
from longspan.observe.tensorboard import TensorBoard
from longspan.observe.tracker import Composite
from longspan.storage import Need, Store, sealed
from longspan.train.checkpoint.checkpoints import Checkpoints
from longspan.train.checkpoint.export import UnusableCheckpoint, export_checkpoint

Reason = Literal["finished", "idle"]
EXPORTED = "exported.json"
"""Written by the job when the final model is in the store."""


class Evaluate(Protocol):
    """Evaluates one model."""

    def __call__(self, model: str, update: int) -> Results:
        """Return what was measured.

        Args:
            model: absolute folder or s3:// address of the exported checkpoint; deleted afterwards.
            update: updates done at the checkpoint.
        """
        ...


@dataclass(frozen=True)
class Polling:
    """How a run is waited for.

    Attributes:
        interval_s: seconds between two looks at its checkpoints.
        idle_timeout_s: the watch ends when nothing in the run's folder has changed for so many seconds.
        clock: seconds, from any moment on.
        wait: sleeps so many seconds.
    """

    interval_s: float = 60.0
    idle_timeout_s: float = 3600.0
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class WatchedRun:
    """A run that another job trains.

    Attributes:
        store: where it is.
        name: the run is ``runs/<name>``.
    """

    store: Store
    name: str

    def needs(self, workspace: str) -> list[Need]:
        """Uses of the store by a watch with exported checkpoints in ``workspace``."""
        return [
            Need("read", f"{self.path}/**", "--watch"),
            Need("add", self.metrics_path, "--watch"),
            Need("add", f"{self.path}/tensorboard", "--watch"),
            Need("write", workspace, "--watch"),
        ]

    @property
    def path(self) -> str:
        """Folder of the run in the store."""
        return f"runs/{self.name}"

    @property
    def metrics_path(self) -> str:
        """Folder of its metrics."""
        return f"{self.path}/metrics"

    @property
    def checkpoints(self) -> Checkpoints:
        """Its checkpoints."""
        return Checkpoints(self.store, self.path)

    def is_finished(self) -> bool:
        """Whether its final model is exported: no checkpoint follows."""
        return self.store.exists(f"{self.path}/{EXPORTED}")

    def versions(self) -> dict[str, str]:
        """Version of each object that the job itself has written, by path."""
        evaluations = (f"{self.metrics_path}/evaluation-", f"{self.path}/tensorboard/evaluation-")
        return {
            item.path: item.version
            for item in self.store.list(self.path)
            if not item.path.startswith(evaluations)
        }


@dataclass(frozen=True)
class WatchedEvaluation:
    """The evaluation of each checkpoint.

    Attributes:
        name: one watcher of a name and run at a time.
        workspace: folder in the store for exported checkpoints; deleted at the end.
        settings: identity of all that is measured: with others, checkpoints are evaluated again.
    """

    name: str
    workspace: str
    settings: str = ""


@dataclass(frozen=True)
class WatchResult:
    """How a watch ended.

    Attributes:
        evaluated: updates of the checkpoints that were evaluated, in this order.
        skipped: updates of those that were deleted first, or are damaged.
        reason: "finished": the run is, and its last checkpoint is evaluated; "idle": nothing has changed for long.
    """

    evaluated: tuple[int, ...]
    skipped: tuple[int, ...]
    reason: Reason


class Watcher:
    """Evaluates each checkpoint of a run at most once, the newest first; `watch` is called once."""

    def __init__(
        self,
        run: WatchedRun,
        evaluation: WatchedEvaluation,
        evaluate: Evaluate,
        polling: Polling = Polling(),
        log: Callable[[str], None] = print,
    ) -> None:
        """Nothing is written yet.

        Args:
            run: whose checkpoints to evaluate.
            evaluation: of each checkpoint.
            evaluate: called once for each checkpoint.
            polling: how the run is waited for.
            log: takes lines for a person to read.

        Raises:
            UserError: there is no such run, or its metrics can't be read.
        """
        if not run.store.exists(run.path):
            raise UserError(
                f"--watch: there is no run in {run.store.uri(run.path)}; start its job first"
            )
        self._run, self._evaluation = run, evaluation
        self._workspace = evaluation.workspace.rstrip("/")
        self._evaluate_model, self._polling, self._log = evaluate, polling, log
        stem = evaluation_stem(evaluation.name)
        done = read_metrics(run.store, run.metrics_path, stem)
        self._done = {
            record["update"]: record["checkpoint"]
            for record in done
            if record["settings"] == evaluation.settings
        }
        self._skipped: dict[int, str] = {}
        """Versions of records by update, as in `_done`."""
        self._evaluated: list[int] = []
        self._metrics = MetricsLog(run.store, run.metrics_path, stem=stem, warn=log)
        # A folder of its own: TensorBoard follows one file in each, and the job's hides updates that it repeats.
        board = TensorBoard(run.store, f"{run.path}/tensorboard/{stem}", warn=log)
        self._trackers = Composite([self._metrics, board, RayEvaluationMetrics(run.name)])

    def watch(self) -> WatchResult:
        """Evaluate checkpoints until the run is finished, or idle.

        Raises:
            UserError: an evaluation fails, or the store can't be reached.
        """
        try:
            reason = self._watch()
        finally:
            self._trackers.close()
        self._run.store.delete(self._workspace)
        return WatchResult(tuple(self._evaluated), tuple(self._skipped), reason)

    def _watch(self) -> Reason:
        clock, store = self._polling.clock, self._run.store
        seen, changed_at = self._run.versions(), clock()
        while True:
            # Asked first: a checkpoint that is committed in between is found below.
            finished = self._run.is_finished()
            if pending := self._pending():
                self._evaluate_next(pending)
                continue
            if finished:
                return "finished"
            versions = self._run.versions()
            if versions != seen:
                seen, changed_at = versions, clock()
            elif (idle := clock() - changed_at) >= self._polling.idle_timeout_s:
                self._log(
                    f"nothing has changed in {store.uri(self._run.path)} for {idle:,.0f} s: the watch ends; run the "
                    "same command again to resume it when the job does"
                )
                return "idle"
            self._polling.wait(self._polling.interval_s)

    def _pending(self) -> dict[int, str]:
        """Version by update of what is to be evaluated, the newest first."""
        return {
            update: version
            for update, version in self._run.checkpoints.committed().items()
            if version not in (self._done.get(update), self._skipped.get(update))
        }

    def _evaluate_next(self, pending: dict[int, str]) -> None:
        update, version = next(iter(pending.items()))
        more = f", {len(pending) - 1:,} older ones wait" if len(pending) > 1 else ""
        self._log(f"evaluating the checkpoint after {update:,} updates{more}")
        folder = f"{self._workspace}/update-{update:07d}"
        try:
            model = self._exported(update, version, folder)
        except UnusableCheckpoint as error:
            self._log(f"checkpoint skipped: {error}")
            self._skipped[update] = version
            return
        results = self._evaluate_model(self._run.store.uri(model), update)
        self._record(update, version, results)
        self._run.store.delete(folder)

    def _exported(self, update: int, version: str, folder: str) -> str:
        """Path of the checkpoint's model in the store; the one that a stopped watcher has left is used again.

        An evaluation knows a model by the versions of its files: of new ones it would ask everything again.
        """
        store, model = self._run.store, f"{folder}/model"
        record, value = f"{folder}/export.json", {"checkpoint": version}
        try:
            if sealed.read(store, record) == value:
                return model
        except (FileNotFoundError, sealed.Damaged):
            pass
        store.delete(folder)
        with tempfile.TemporaryDirectory(prefix="longspan-watch-") as temporary:
            local = export_checkpoint(store, self._run.path, update, Path(temporary) / "model")
            store.upload(local, model)
        store.write_bytes(record, sealed.dumps(value))
        return model

    def _record(self, update: int, version: str, results: Results) -> None:
        """Make the results metrics of the run; from now on the checkpoint counts as evaluated."""
        record = evaluation_record(
            self._evaluation.name,
            update,
            measurements_in(results),
            time=time.time(),
            checkpoint=version,
            settings=self._evaluation.settings,
        )
        self._trackers.log(record)
        self._metrics.flush()
        self._done[update] = version
        self._evaluated.append(update)
