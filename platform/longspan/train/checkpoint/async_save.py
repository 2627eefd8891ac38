"""Checkpoints are written while training goes on: only the copy of the state in memory is waited for."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from longspan.addresses import redacted
from longspan.errors import UserError
from longspan.storage import sealed
from longspan.train.checkpoint.checkpoints import (
    Checkpoint,
    CheckpointFacts,
    Checkpoints,
    Superseded,
)
from longspan.train.checkpoint.fragments import Copies, Fragment
from longspan.train.checkpoint.rank_files import SUFFIX, Part, write_part

COMMIT_SECONDS = 600.0
"""How long the first rank waits for the others' parts."""
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Saved:
    """What became of a checkpoint, as this rank knows it; only the first rank knows of all parts."""

    update: int
    seconds: float
    """From the state's copy to the record."""
    failure: str | None = None
    untidy: str | None = None
    """Why older ones could not be deleted."""


class Saver:
    """Writes this rank's parts, one checkpoint at a time, in a thread."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        rank: int,
        world_size: int,
        attempt_id: str,
        keep: int,
        keep_every: int | None,
    ) -> None:
        """Nothing is written yet.

        Args:
            checkpoints: where to.
            rank: this worker's number.
            world_size: how many write.
            attempt_id: the same on all ranks, and another one at every start.
            keep: how many of the newest checkpoints stay.
            keep_every: those after a multiple of so many updates stay as well.
        """
        self._checkpoints = checkpoints
        self._rank, self._world_size, self._attempt_id = rank, world_size, attempt_id
        self._keep, self._keep_every = keep, keep_every
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._copies = Copies()
        self._number = 0
        self._latest: Future[Saved] | None = None
        self._told = True
        self._lacking: str | None = None

    def start(
        self,
        fragments: Sequence[Fragment],
        facts: CheckpointFacts,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        """Copy the state and begin to write it, after the one before; ``first`` is done in the thread."""
        assert self._told, "what became of the checkpoint before was not asked for"
        self._number += 1
        self._told, self._lacking = False, None
        # Nobody reads the last copies any more.
        copies = self._copies.take(fragments)
        self._latest = self._thread.submit(self._save, copies, facts, first)

    def own_failure(self) -> str | None:
        """Why this rank's part of the latest checkpoint could not be written; waits for no other rank."""
        if self._rank == 0 or self._latest is None:
            return None
        return self._latest.result().failure

    def finished(self) -> Saved | None:
        """What became of the checkpoint that was begun, once, when it is known."""
        return self.wait() if self._latest and self._latest.done() else None

    def wait(self, lacking: str | None = None) -> Saved | None:
        """The same, waited for.

        Args:
            lacking: why a part of another rank will never come.
        """
        if self._told or self._latest is None:
            return None
        self._told, self._lacking = True, lacking
        return self._latest.result()

    def _save(
        self, fragments: Sequence[Fragment], facts: CheckpointFacts, first: Callable[[], None]
    ) -> Saved:
        began = time.monotonic()
        failure = untidy = None
        try:
            first()
            part = self._write(fragments, facts.update)
            if self._rank == 0:
                untidy = self._commit(facts, part)
        except Superseded:
            raise
        except (UserError, OSError, sealed.Damaged) as error:
            failure = redacted(str(error))
            # The first rank knows at once, or when the ranks meet next, should this fail as well.
            with suppress(UserError, OSError):
                self._tell(facts.update, {"failure": failure})
        return Saved(facts.update, time.monotonic() - began, failure, untidy)

    def _write(self, fragments: Sequence[Fragment], update: int) -> Part:
        folder, name = self._folder(update), f"part-{self._rank:05d}"
        with tempfile.TemporaryDirectory(prefix="longspan-checkpoint-") as staging:
            local = Path(staging) / f"{name}{SUFFIX}"
            part = write_part(fragments, local, f"{folder}/{local.name}")
            self._checkpoints.store.upload(staging, folder)
        self._tell(update, {"part": part.to_json()})
        return part

    def _tell(self, update: int, value: dict) -> None:
        path = f"{self._folder(update)}/part-{self._rank:05d}.json"
        self._checkpoints.store.write_bytes(path, sealed.dumps(value))

    def _commit(self, facts: CheckpointFacts, mine: Part) -> str | None:
        """Make it a checkpoint once all parts are there; what could not be deleted is no failure of it."""
        parts = [mine]
        deadline = time.monotonic() + COMMIT_SECONDS
        for rank in range(1, self._world_size):
            parts.append(self._part_of(facts.update, rank, deadline))
        checkpoint = Checkpoint(facts, tuple(parts))
        self._checkpoints.check_lease(self._attempt_id)
        self._checkpoints.commit(checkpoint)
        try:
            self._checkpoints.delete_orphans(facts.update, self._attempt_id)
            self._checkpoints.prune(self._keep, self._keep_every)
        except (UserError, OSError) as error:
            return redacted(str(error))
        return None

    def _part_of(self, update: int, rank: int, deadline: float) -> Part:
        """Another rank's part, once it is there."""
        path = f"{self._folder(update)}/part-{rank:05d}.json"
        store = self._checkpoints.store
        while not store.exists(path):
            if self._lacking:
                raise UserError(self._lacking)
            if time.monotonic() > deadline:
                raise UserError(f"worker {rank} has not written its part in {COMMIT_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)
        value = sealed.read(store, path)
        if "failure" in value:
            raise UserError(f"worker {rank}: {value['failure']}")
        return Part.from_json(value["part"])

    def _folder(self, update: int) -> str:
        # Another one at every try, the same on all ranks: nothing of one that failed is taken for its parts.
        return f"{self._checkpoints.folder(update)}/{self._attempt_id}.{self._number}"
