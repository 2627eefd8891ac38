"""Checkpoint manager of the training loop: when to save, and where to resume."""

from __future__ import annotations

import time
from typing import Any

from longspan.errors import UserError
from longspan.history.log import HistoryLog
from longspan.stream.batch import Batch
from longspan.train.checkpoint.async_save import Saved, Saver
from longspan.train.checkpoint.checkpoints import Checkpoint, Checkpoints
from longspan.train.checkpoint.rank_files import DamagedPart, read_parts
from longspan.train.collectives import all_gather_objects, broadcast_object
from longspan.train.engine import Engine
from longspan.train.host import Host, RescaleRequest, Restart
from longspan.train.job import Job
from longspan.train.loss_spike_guard import LossSpikeGuard
from longspan.train.recorder import Recorder

MOST_FAILURES = 3
TRY_AGAIN_SECONDS = 5.0
"""Between the tries at the end of a run."""


class Failures:
    """Checkpoints that fail one after the other: what is done meanwhile would be lost."""

    def __init__(self, give_up_timeout_s: float) -> None:
        """``give_up_timeout_s`` is in seconds."""
        self._give_up_after = give_up_timeout_s
        self._count, self._since = 0, 0.0

    def note(self, failure: str | None, now: float) -> None:
        """A checkpoint is written, or failed.

        Raises:
            UserError: that goes on for too long.
        """
        if failure is None:
            self._count = 0
            return
        if self._count == 0:
            self._since = now
        self._count += 1
        # An outage is a matter of time, and an interval between checkpoints may be one of seconds.
        if self._count >= MOST_FAILURES and now - self._since >= self._give_up_after:
            raise UserError(
                f"{self._count} checkpoints in a row failed, for {now - self._since:.0f} s "
                f"(training.give_up_timeout_s is {self._give_up_after:g}): {failure}"
            )


def latest_checkpoint(job: Job, host: Host) -> Checkpoint | None:
    """Where the run goes on from, the same on all ranks; None in a new run.

    Raises:
        UserError: it is of another run.
    """
    checkpoints = Checkpoints(job.store, job.layout.run_path, host.log)

    def read() -> dict[str, Any] | None:
        latest = checkpoints.latest()
        return latest.to_json() if latest else None

    value = broadcast_object(read)
    found = Checkpoint.from_json(value) if value else None
    if found:
        found.facts.require(job.checkpoint_facts())
    return found


def restore(engine: Engine, job: Job, found: Checkpoint) -> None:
    """Continue from a checkpoint; all ranks call it.

    Raises:
        Restart: it turned out to be damaged; the previous one is now the latest.
    """
    damage = None
    try:
        read_parts(job.store, found.parts, engine.fragments())
    except DamagedPart as error:
        damage = str(error)
    if reasons := [reason for reason in all_gather_objects(damage) if reason]:
        broadcast_object(lambda: job.checkpoints.mark_corrupt(found, reasons[0]))
        raise Restart(f"{reasons[0]}: going on from the checkpoint before")
    engine.continue_from(found.facts.update, found.facts.steps)


class CheckpointManager:
    """What is kept of a run as it goes on: this rank's record of rows, and checkpoints."""

    def __init__(
        self,
        engine: Engine,
        job: Job,
        host: Host,
        recorder: Recorder,
        history: HistoryLog,
        attempt_id: str,
        guard: LossSpikeGuard,
    ) -> None:
        """``attempt_id`` is another one at every start, and the same on all ranks."""
        training = job.recipe.training
        checkpoints = job.checkpoints
        self._saver = Saver(
            checkpoints,
            host.rank,
            host.world_size,
            attempt_id,
            training.keep_checkpoints,
            training.keep_every,
        )
        self._engine, self._job, self._recorder, self._history = engine, job, recorder, history
        self._guard = guard
        self._failures = Failures(training.give_up_timeout_s)
        if host.rank == 0:
            checkpoints.acquire_lease(attempt_id)

    def on_update_end(self, batch: Batch) -> None:
        """An update is done."""
        self._history.add(batch)
        self._note(self._saver.finished())

    def save(self) -> None:
        """Begin a checkpoint; it is written while training goes on. All ranks call it.

        Raises:
            UserError: checkpoints have failed for too long.
        """
        self._recorder.persist()
        mark = self._history.mark()
        facts = self._job.checkpoint_facts(
            self._engine.update_count,
            self._engine.steps,
            self._guard.losses,
            self._guard.skipped,
        )
        self._note(self._settled())
        # Rows first: what a checkpoint covers is on record.
        self._saver.start(self._engine.fragments(), facts, lambda: self._history.flush(mark))

    def save_now(self, notice: RescaleRequest) -> None:
        """A checkpoint that is waited for; all ranks call it.

        Raises:
            Restart: the group is to start again.
        """
        update = self._engine.update_count
        self._recorder.event("rescale_requested", update, reason=notice.reason)
        self.save()
        # Without it the group would lose what it has done: it goes on, and is told again.
        if not self.wait() and notice.leave:
            raise Restart(notice.reason)

    def wait(self) -> str | None:
        """Wait for the checkpoint that is being written; all ranks call it, and get why it failed, if so."""
        saved = self._settled()
        self._note(saved)
        return broadcast_object(lambda: saved.failure if saved else None)

    def finish(self) -> None:
        """Wait for the checkpoint that was begun, and try again where it failed.

        Raises:
            UserError: they fail for too long.
        """
        while self.wait():
            time.sleep(TRY_AGAIN_SECONDS)
            self.save()

    def _settled(self) -> Saved | None:
        """What became of the checkpoint that is being written, waited for; all ranks call it."""
        failures = all_gather_objects(self._saver.own_failure())
        lacking = [f"worker {rank}: {why}" for rank, why in enumerate(failures) if why]
        # Where a part could not be written, the word of it may not have reached the store either.
        return self._saver.wait(lacking[0] if lacking else None)

    def _note(self, saved: Saved | None) -> None:
        if saved is None:
            return
        self._recorder.saved(saved)
        self._failures.note(saved.failure, time.monotonic())
