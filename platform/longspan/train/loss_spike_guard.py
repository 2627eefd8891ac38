"""Guard against loss spikes: skips updates without a finite gradient, or with a loss far above recent losses.

A single update is skipped and counted. After several in a row the run resumes from its latest checkpoint and excludes
their rows; if that happens again before there is a newer checkpoint, the run ends.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable

from longspan.errors import UserError
from longspan.storage import sealed
from longspan.train.checkpoint.checkpoints import CheckpointFacts
from longspan.train.collectives import broadcast_object
from longspan.train.engine import UpdateStats
from longspan.train.host import Restart
from longspan.train.job import Job
from longspan.train.recorder import Recorder

WINDOW = 32
"""Number of recent updates that a loss is compared with."""
MIN_HISTORY = 8
"""Minimum number of recent losses; with fewer, no loss is refused."""


class RecentLosses:
    """Losses of the most recent updates."""

    def __init__(self, most: float | None, losses: Iterable[float] = ()) -> None:
        """A loss may be ``most`` nats per token above the median of the last ones; None: any finite one."""
        self._most = most
        self._losses = deque(losses, WINDOW)

    @property
    def losses(self) -> tuple[float, ...]:
        """The losses, oldest first; stored in checkpoints."""
        return tuple(self._losses)

    def too_high(self, loss: float) -> bool:
        """Return whether a loss is a spike."""
        if self._most is None or len(self._losses) < MIN_HISTORY:
            return False
        return loss - statistics.median(self._losses) > self._most

    def add(self, loss: float) -> None:
        """Add the loss of an update."""
        self._losses.append(loss)


class LossSpikeGuard:
    """Decides which updates are made; all ranks see the same losses and decide alike."""

    def __init__(self, job: Job, recorder: Recorder, before: CheckpointFacts | None) -> None:
        """``before``: metadata of the checkpoint that the run resumes from."""
        training = job.recipe.training
        self._job, self._recorder = job, recorder
        self._usual = RecentLosses(training.max_loss_rise, before.losses if before else ())
        self._skipped = list(before.skipped) if before else []

    @property
    def losses(self) -> tuple[float, ...]:
        """See `RecentLosses`."""
        return self._usual.losses

    @property
    def skipped(self) -> tuple[int, ...]:
        """Updates that were skipped in a row, up to the last one."""
        return tuple(self._skipped)

    @property
    def has_recent_skips(self) -> bool:
        """Whether the last update was skipped: no time for a checkpoint to go back to."""
        return bool(self._skipped)

    def accepts(self, loss: float) -> bool:
        """Whether a step may be made at this loss."""
        return math.isfinite(loss) and not self._usual.too_high(loss)

    def excluded_updates(self) -> frozenset[int]:
        """Updates whose rows are not trained on; all ranks call it."""
        return frozenset(update for updates in self._agreed() for update in updates)

    def observe(self, stats: UpdateStats, wait: Callable[[], object]) -> None:
        """An update was made, or skipped; all ranks call it.

        Args:
            stats: of the update.
            wait: waits for a checkpoint that is being written; it may be the one to go back to.

        Raises:
            Restart: too many in a row were skipped: the run resumes from its checkpoint and skips their rows.
            UserError: that has not helped.
        """
        if not stats.skipped:
            self._usual.add(stats.loss)
            self._skipped.clear()
            return
        reason = (
            "gradient is not finite" if self.accepts(stats.loss) else f"loss of {stats.loss:.4g}"
        )
        self._skipped.append(stats.update)
        self._recorder.event("skipped", stats.update + 1, reason=reason)
        if len(self._skipped) >= self._job.recipe.training.max_skipped:
            wait()
            self._go_back(reason)

    def _go_back(self, reason: str) -> None:
        updates = self._skipped
        what = f"updates {updates[0] + 1} to {updates[-1] + 1} were skipped ({reason})"

        def exclude_update() -> None:
            before = self._read()
            if before and before[-1][-1] >= self._job.checkpoints.latest_update():
                raise UserError(
                    f"{what}, and the run has gone back since its latest checkpoint: lower "
                    "optimizer.learning_rate, raise training.max_loss_rise if it is set, or look at "
                    "their rows (longspan check-history)"
                )
            self._job.store.write_bytes(self._path, sealed.dumps({"updates": [*before, updates]}))

        broadcast_object(exclude_update)
        raise Restart(f"{what}: going back to the latest checkpoint, and passing over their rows")

    def _agreed(self) -> list[list[int]]:
        return broadcast_object(self._read)

    def _read(self) -> list[list[int]]:
        """The updates that the run has gone back for, each time."""
        if not self._job.store.exists(self._path):
            return []
        return sealed.read(self._job.store, self._path)["updates"]

    @property
    def _path(self) -> str:
        return f"{self._job.layout.run_path}/passed-over.json"
