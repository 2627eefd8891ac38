"""What is kept of a run as it goes on, and how it goes on from there."""

from __future__ import annotations

import torch.distributed as dist

from longspan.errors import UserError
from longspan.history.log import HistoryLog
from longspan.storage import sealed
from longspan.stream.batch import Batch
from longspan.train.agree import from_all_ranks, from_first_rank
from longspan.train.checkpoint import Checkpoints
from longspan.train.engine import Engine, UpdateStats
from longspan.train.host import Host, Notice, Restart
from longspan.train.job import Job
from longspan.train.parts import DamagedPart, read_parts
from longspan.train.recorder import Recorder
from longspan.train.saver import Saved, Saver

MOST_FAILURES = 3
"""Checkpoints in a row that may fail: what is done meanwhile would be lost."""


def restore(engine: Engine, job: Job, host: Host) -> bool:
    """Continue from the run's latest checkpoint; False in a new run.

    Raises:
        Restart: the checkpoint turned out to be damaged; the one before is now the latest.
    """
    checkpoints = Checkpoints(job.store, job.run_path, host.say)
    found = from_first_rank(checkpoints.latest, engine.device)
    if found is None:
        return False
    found.facts.require(job.checkpoint_facts())
    damage = None
    try:
        read_parts(job.store, found.parts, engine.fragments())
    except DamagedPart as error:
        damage = str(error)
    if reasons := [reason for reason in from_all_ranks(damage) if reason]:
        what = f"{reasons[0]}: going on from the checkpoint before"
        if host.rank == 0:
            checkpoints.give_up(found, reasons[0])
            host.say(what)
        dist.barrier()
        raise Restart(what)
    engine.continue_from(found.facts.update, found.facts.steps)
    return True


class Keeping:
    """What is kept of a run as it goes on: this rank's record of rows, and checkpoints."""

    def __init__(
        self,
        engine: Engine,
        job: Job,
        host: Host,
        recorder: Recorder,
        history: HistoryLog,
        attempt: str,
    ) -> None:
        """``attempt`` is another one at every start, and the same on all ranks."""
        training = job.recipe.training
        checkpoints = job.checkpoints
        self._saver = Saver(
            checkpoints,
            host.rank,
            host.world_size,
            attempt,
            training.keep_checkpoints,
            training.keep_every,
        )
        self._engine, self._job, self._recorder, self._history = engine, job, recorder, history
        self._rank = host.rank
        self._failures = self._skipped = 0

    def passed_over(self) -> frozenset[int]:
        """Updates whose rows are not trained on, since the run had to go back because of them."""
        return frozenset(update for updates in self._went_back() for update in updates)

    def mind(self, stats: UpdateStats) -> None:
        """See whether the gradient was finite; all ranks see the same.

        Raises:
            Restart: too many in a row were not: the run goes back, and passes over their rows.
            UserError: it has been back already.
        """
        self._skipped = self._skipped + 1 if stats.skipped else 0
        if stats.skipped:
            self._recorder.event("skipped", stats.update + 1, loss=stats.loss)
        if self._skipped < self._job.recipe.training.max_skipped:
            return
        updates = list(range(stats.update + 1 - self._skipped, stats.update + 1))
        which = f"updates {updates[0] + 1} to {updates[-1] + 1}"
        before = self._went_back()
        if before:
            raise UserError(
                f"{which}: their gradients are not finite, {len(updates)} in a row, and the run has "
                "gone back for that once: lower optimizer.learning_rate, or look at their rows"
            )
        if self._rank == 0:
            value = {"updates": [*before, updates]}
            self._job.store.write_bytes(self._passed_over_path, sealed.dumps(value))
        dist.barrier()
        raise Restart(
            f"{which}: their gradients are not finite; going back to the latest checkpoint, and "
            "passing over their rows"
        )

    def _went_back(self) -> list[list[int]]:
        """The updates that the run has gone back for, each time."""

        def find() -> list[list[int]]:
            if not self._job.store.exists(self._passed_over_path):
                return []
            return sealed.read(self._job.store, self._passed_over_path)["updates"]

        return from_first_rank(find, self._engine.device)

    @property
    def _passed_over_path(self) -> str:
        return f"{self._job.run_path}/passed-over.json"

    def did(self, batch: Batch) -> None:
        """An update is done."""
        self._history.add(batch)
        self._note(self._saver.finished())

    def save(self) -> None:
        """Begin a checkpoint; it is written while training goes on.

        Raises:
            UserError: checkpoints have failed several times in a row.
        """
        mark = self._history.mark()
        facts = self._job.checkpoint_facts(self._engine.update_count, self._engine.steps)
        # Rows first: what a checkpoint covers is on record.
        before = self._saver.start(
            self._engine.fragments(), facts, lambda: self._history.flush(mark)
        )
        self._note(before)

    def save_now(self, notice: Notice) -> None:
        """A checkpoint that is waited for; all ranks call it.

        Raises:
            Restart: the group is to start again.
        """
        update = self._engine.update_count
        self._recorder.event("noticed", update, reason=notice.reason)
        self.save()
        self._note(self._saver.wait())
        dist.barrier()
        if notice.leave:
            raise Restart(notice.reason)

    def finish(self) -> None:
        """Wait for the checkpoint that was begun.

        Raises:
            UserError: it failed.
        """
        saved = self._saver.wait()
        self._note(saved)
        if saved and saved.failure:
            raise UserError(f"the last checkpoint could not be written: {saved.failure}")

    def _note(self, saved: Saved | None) -> None:
        if saved is None:
            return
        self._recorder.saved(saved)
        self._failures = self._failures + 1 if saved.failure else 0
        if self._failures >= MOST_FAILURES:
            raise UserError(f"{MOST_FAILURES} checkpoints in a row failed: {saved.failure}")
