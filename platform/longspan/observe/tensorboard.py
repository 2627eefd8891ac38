"""TensorBoard event files: written locally, uploaded to the store whole at each flush."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from longspan.errors import UserError
from longspan.observe.evaluations import EVALUATION
from longspan.observe.scalars import scalars
from longspan.observe.tracker import Record
from longspan.storage.store import Store

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes a run's records as TensorBoard scalars; a :class:`~longspan.observe.tracker.Tracker`.

    An event file grows, and object storage can't append: the file is written into a temporary
    folder and copied as a whole every ``seconds``, after a held-out loss or an evaluation, and at the end. Each
    process that continues a run adds a file of its own, which hides what earlier ones said about
    updates after ``first_update`` (``purge_step``).

    Args:
        store: where to.
        path: folder in the store, to be given to ``tensorboard --logdir``.
        first_update: updates done when this process began.
        seconds: between uploads, while records keep coming.
        clock: seconds, from any moment on.
        warn: told once, when the store begins to fail.
    """

    def __init__(
        self,
        store: Store,
        path: str,
        *,
        first_update: int = 0,
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._store, self._path = store, path
        self._seconds, self._clock, self._due = seconds, clock, clock() + seconds
        self._warn = warn or (lambda line: print(line, file=sys.stderr, flush=True))
        self._failing = False
        self._folder = Path(tempfile.mkdtemp(prefix="longspan-tensorboard-"))
        self._purge = first_update + 1 if first_update else None
        self._writer: SummaryWriter | None = None

    def log(self, record: Record) -> None:
        """Write the record's numbers at its update; with a full disk there are none for a while."""
        if self._writer is None and self._failing and self._clock() < self._due:
            return
        try:
            self._write(record)
        except OSError as error:
            self._warn_of("TensorBoard's curves have a gap", error)
            # It fails from now on, room or not.
            self._writer, self._due = None, self._clock() + self._seconds
            return
        if record["kind"] in ("heldout", EVALUATION) or self._clock() >= self._due:
            self._try_to_flush()

    def _write(self, record: Record) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is None:
            self._writer = SummaryWriter(str(self._folder), purge_step=self._purge)
            self._purge = None
        for tag, value in scalars(record).items():
            self._writer.add_scalar(tag, value, record["update"], walltime=record.get("time"))
        if record["kind"] == "event":
            said = {key: value for key, value in record.items() if key not in ("kind", "update")}
            text = ", ".join(f"{key}: {value}" for key, value in said.items() if key != "time")
            self._writer.add_text("events", text, record["update"], walltime=record.get("time"))

    def flush(self) -> None:
        """Copy the event file as it is now; UserError where the store does not take it."""
        self._due = self._clock() + self._seconds
        if self._writer:
            self._writer.flush()
        self._store.upload(str(self._folder), self._path)
        self._failing = False

    def close(self) -> None:
        """Copy the whole file and forget the local one; UserError where the store refuses it."""
        try:
            if self._writer:
                with suppress(OSError):  # The disk is full; what was written before is copied.
                    self._writer.close()
            self._store.upload(str(self._folder), self._path)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _try_to_flush(self) -> None:
        try:
            self.flush()
        except (OSError, UserError) as error:
            self._warn_of("TensorBoard's file stays local until the store takes it", error)

    def _warn_of(self, what: str, error: Exception) -> None:
        if not self._failing:
            self._warn(f"{what}: {error}")
        self._failing = True
