"""Reports of the training loop, from rank 0 only: one record each, to every tracker and the driver log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from longspan.extensions.options import validated
from longspan.extensions.points import TRACKERS
from longspan.model.facts import ModelFacts
from longspan.observe.metrics import MetricsLog, read_metrics
from longspan.observe.progress import Progress, StageTotal, Totals
from longspan.observe.tracker import Composite, Tracker
from longspan.observe.trackers.isolated import IsolatedTracker, close_all
from longspan.observe.trackers.run import TrackedRun, without_credentials
from longspan.plan.flops import flops_per_token, model_flops_utilization, packed_flops
from longspan.recipe.extensions import TrackerChoice
from longspan.train.checkpoint.async_save import Saved
from longspan.train.data.heldout import HeldOutLoss
from longspan.train.elastic.replayed_work import latest_start, waste, waste_so_far
from longspan.train.engine import UpdateStats
from longspan.train.host import Host
from longspan.train.job import Job

FINISH_S = 60.0
"""Time limit of all trackers at the end of a run, in seconds."""
RESTART_S = 5.0
"""Time limit of all trackers at a restart or a failure, in seconds."""


class Recorder:
    """Turns what happened into records; silent on every rank but 0."""

    def __init__(self, job: Job, host: Host, facts: ModelFacts, first_update: int) -> None:
        """``first_update``: updates done before this process began."""
        self._job, self._host, self._facts = job, host, facts
        self._speaks = host.rank == 0
        self._latest_update = first_update
        self._metrics: MetricsLog | None = None
        self._trackers = Composite(self._make_trackers() if self._speaks else [])
        self._selected = self._start_selected(first_update) if self._speaks else []

    def note(self, line: str) -> None:
        """A line for the driver log only."""
        if self._speaks:
            self._host.log(line)

    def begins(self, update: int, resumed: bool) -> None:
        """The workers begin, or go on; what was done and is not kept is counted."""
        if not self._speaks:
            return
        workers = self._host.world_size
        details: dict[str, Any] = {"workers": workers}
        records = read_metrics(self._job.store, self._job.layout.metrics_path)
        if before := latest_start(records):
            if before["workers"] != workers:
                self.event("resized", update, before=before["workers"], now=workers)
            lost = waste(records, update)
            details["wasted_updates"] = lost.updates
            details["wasted_worker_seconds"] = round(lost.worker_seconds, 1)
            earlier = waste_so_far(records)
            details["wasted_updates_in_all"] = lost.updates + earlier.updates
            details["wasted_worker_seconds_in_all"] = round(
                lost.worker_seconds + earlier.worker_seconds, 1
            )
        self.event("resumed" if resumed else "started", update, **details)

    def event(self, event: str, update: int, **details: Any) -> None:
        """Something happened."""
        self._log({"kind": "event", "event": event, "update": update, **details})

    def update(
        self,
        stats: UpdateStats,
        length: int,
        seconds: float,
        waited: float,
        metrics: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """One optimizer update was done in ``seconds``, ``waited`` of them for rows.

        ``metrics`` are those of callbacks, by name.
        """
        record: dict[str, Any] = {
            "kind": "update",
            "update": stats.update + 1,
            "loss": stats.loss,
            "learning_rate": stats.learning_rate,
            "grad_norm": stats.grad_norm,
            "tokens": stats.tokens,
            "counted_tokens": stats.counted_tokens,
            "tokens_per_second": stats.tokens / seconds,
            "step_seconds": seconds,
            "data_wait_seconds": waited,
            "length": length,
        }
        if self._job.peak_flops:
            flops = packed_flops(self._facts, stats.tokens, stats.squared_lengths)
            record["mfu"] = model_flops_utilization(
                flops, seconds, self._job.peak_flops, self._host.world_size
            )
        for name, tokens in zip(self._job.data.source_names, stats.source_tokens, strict=True):
            record[f"source_tokens.{name}"] = tokens
        record |= {f"callback.{name}": value for name, value in metrics.items()}
        self._log(record)

    def heldout(self, loss: HeldOutLoss, phase: str, update: int) -> None:
        """Held-out loss was measured."""
        names = [corpus.name for corpus in self._job.data.corpora]
        self._log(loss.record(phase, update, names))

    def persist(self) -> None:
        """Store the records of what a checkpoint is about to cover: it would not be done again."""
        if self._metrics:
            self._metrics.persist()

    def saved(self, saved: Saved | None) -> None:
        """It is known what became of a checkpoint."""
        if saved is None:
            return
        if saved.failure is None:
            self.event("checkpoint", saved.update, seconds=round(saved.seconds, 2))
            if saved.untidy:
                self.event("older checkpoints left", saved.update, reason=saved.untidy)
        else:
            self.event("checkpoint failed", saved.update, reason=saved.failure)

    def close(self, *, is_finished: bool) -> None:
        """Close all trackers, and record what the selected ones did not get; nothing follows.

        ``is_finished``: the run has ended well, so that trackers may take longer.
        """
        close_all(self._selected, FINISH_S if is_finished else RESTART_S)
        for tracker in self._selected:
            if count := tracker.undelivered:
                self._trackers.log(
                    {
                        "kind": "event",
                        "event": "tracker_records_dropped",
                        "update": self._latest_update,
                        "tracker": tracker.name,
                        "records": count,
                        "time": time.time(),
                    }
                )
        self._trackers.close()

    def _log(self, record: Mapping[str, Any]) -> None:
        self._latest_update = record["update"]
        timed = {**record, "time": time.time()}
        for tracker in self._selected:
            tracker.log(timed)
        self._trackers.log(timed)

    def _make_trackers(self) -> list[Tracker]:
        """Trackers that every run has; the run itself reads its metrics, and shows its progress."""
        job, log = self._job, self._host.log
        self._metrics = MetricsLog(job.store, job.layout.metrics_path, warn=log)
        return [Progress(self._totals(), log=log), self._metrics, *self._host.trackers()]

    def _start_selected(self, first_update: int) -> list[IsolatedTracker]:
        """Trackers that the recipe selects, each in a thread of its own."""
        job, log = self._job, self._host.log
        config = without_credentials(job.recipe.model_dump(mode="json"))
        run = TrackedRun(job.recipe.name, job.store, job.layout.run_path, first_update, config, log)
        return [
            IsolatedTracker(choice.name, partial(_tracker, choice, run), log)
            for choice in job.recipe.trackers
        ]

    def _totals(self) -> Totals:
        stages = self._job.plan.stages
        return Totals(
            tuple(
                StageTotal(
                    s.length,
                    s.updates,
                    s.rows_per_update * s.length,
                    flops_per_token(self._facts, s.length),
                )
                for s in stages
            )
        )


def _tracker(choice: TrackerChoice, run: TrackedRun) -> Tracker:
    key = f"trackers.{choice.name}"
    found = TRACKERS.load(choice.name, key)
    return found(run, **validated(found, choice.options, f"{key}.options", given=1))
