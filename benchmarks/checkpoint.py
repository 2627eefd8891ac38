"""Checkpoint: what one costs the training, written as ours are, written while training waits, and DeepSpeed's.

One worker and one engine, in which all ways take turns. A turn is a checkpoint, and updates until it
is written; what it took longer than as many updates of a turn without a checkpoint is lost. Between
turns what was written goes to the disk and is deleted.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import machine, parse, parser, table, temporary_store, timed
from benchmarks.step import Ours, overrides, report, sample_job
from longspan.storage import Store
from longspan.stream.batch import Batch
from longspan.stream.plan import local_batches
from longspan.train.checkpoint.async_save import Saved, Saver
from longspan.train.checkpoint.checkpoints import CheckpointFacts, Checkpoints
from longspan.train.job import Job
from longspan.train.ray_host import KEEP_FREED_MEMORY

NONE, OURS, WAITED, DEEPSPEED, COPIED = (
    "none",
    "ours",
    "ours, waited for",
    "DeepSpeed's save_checkpoint",
    "the same, and Ray Train's copy",
)
MOST_UPDATES = 50
"""Of a turn: rows are there for no more."""
WAYS = (NONE, OURS, WAITED, DEEPSPEED, COPIED)


@dataclass
class Turn:
    """One checkpoint and the updates after it, in seconds."""

    blocked: float
    """Before the first update could begin."""
    whole: float
    """All of it."""
    updates: int
    """How many there were."""
    written: float
    """From the call to the whole checkpoint."""
    bytes: int


@dataclass
class Writers:
    """The ways to write a checkpoint of an engine."""

    engine: Any
    store: Store
    folder: Path
    number: int = 0
    writes: bool = False
    """In the background."""
    saver: Saver = field(init=False)

    def __post_init__(self) -> None:
        checkpoints = Checkpoints(self.store, "runs/x")
        checkpoints.acquire_lease("attempt")
        self.saver = Saver(checkpoints, 0, 1, "attempt", 1, None)

    def write(self, way: str) -> None:
        """Begin a checkpoint, and wait for it where the way does."""
        self.number += 1
        if way in (OURS, WAITED):
            facts = CheckpointFacts(self.number, self.number, "order")
            self.saver.start(self.engine.fragments(), facts)
            self.writes = True
        if way == WAITED:
            self._took(self.saver.wait())
        if way == DEEPSPEED:
            self.engine._deepspeed.save_checkpoint(str(self.folder / "stored"))
        if way == COPIED:
            self.copied()

    def finished(self) -> float | None:
        """Seconds that the checkpoint took which has just been written."""
        return self._took(self.saver.finished())

    def _took(self, saved: Saved | None) -> float | None:
        if saved is None:
            return None
        if saved.failure:
            raise SystemExit(saved.failure)
        self.writes = False
        return saved.seconds

    def copied(self) -> None:
        """A temporary folder, copied into the storage: what `ray.train.report` does with it."""
        import pyarrow.fs

        with tempfile.TemporaryDirectory() as local:
            self.engine._deepspeed.save_checkpoint(local)
            to = self.folder / "stored"
            to.mkdir()
            pyarrow.fs.copy_files(
                local,
                str(to),
                source_filesystem=pyarrow.fs.LocalFileSystem(),
                destination_filesystem=pyarrow.fs.LocalFileSystem(),
            )

    def clear(self) -> int:
        """Delete what is there; its bytes."""
        total = 0
        for place in (self.folder / "stored", Path(self.store.root) / "runs"):
            total += sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
            shutil.rmtree(place, ignore_errors=True)
        os.sync()
        return total


def turn(way: str, writers: Writers, update: Callable[[], Any], least: int) -> Turn:
    """A checkpoint, and so many updates and more until it is written."""
    began = time.perf_counter()
    _, blocked = timed(lambda: writers.write(way))
    done, seconds = 0, None
    while done < least or writers.writes:
        update()
        done += 1
        seconds = writers.finished() or seconds
    whole = time.perf_counter() - began
    return Turn(blocked, whole, done, seconds or blocked, writers.clear())


def turns(job: Job, model: Path, updates: int, rounds: int) -> dict[str, list[Turn]]:
    """All ways by turns; the first round warms up and is left out."""
    found: dict[str, list[Turn]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="longspan-benchmark-") as folder:
        ours = Ours(job, model, Path(folder) / "group")
        batches: Iterator[Batch] = iter(local_batches(job.data.stream(0), 0, 1))
        writers = Writers(ours.engine, Store(str(Path(folder) / "store")), Path(folder))
        for number in range(rounds + 1):
            shift = number % len(WAYS)  # None always goes first.
            for way in (*WAYS[shift:], *WAYS[:shift]):
                done = turn(
                    way, writers, lambda: ours.update(next(batches)), updates if number else 1
                )
                report(f"{way}: blocked {done.blocked:.2f} s, {done.whole:.2f} s in all")
                if number:
                    found[way].append(done)
        ours.close()
    return found


def rows(found: dict[str, list[Turn]], step: float) -> list[list[str]]:
    """Lines of the table."""
    lines = []
    for way in WAYS[1:]:
        pairs = list(zip(found[way], found[NONE], strict=True))
        blocked = median(done.blocked for done in found[way])
        lost = [
            done.whole - done.updates * without.whole / without.updates for done, without in pairs
        ]
        lines.append(
            [
                way,
                f"{median(done.bytes for done in found[way]) / 1e9:.2f}",
                f"{median(done.written for done in found[way]):.2f}",
                f"{blocked:.2f}",
                f"{blocked / step:.2f}",
                f"{median(lost):.2f}",
                f"{median(lost) / step:.2f}",
                f"{min(lost):.2f} to {max(lost):.2f}",
            ]
        )
    return lines


HEADER = (
    "checkpoint",
    "GB",
    "written in, s",
    "update waits, s",
    "in steps",
    "lost in all, s",
    "in steps",
    "min to max, s",
)


def main() -> None:
    import torch

    options = parser(__doc__)
    options.add_argument("--length", type=int, default=512, help="tokens of a row")
    options.add_argument("--tokens", type=int, default=512, help="tokens of an update")
    options.add_argument("--updates", type=int, default=3, help="of a turn, at least")
    options.add_argument("--rounds", type=int, default=3, help="turns of each way")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parse(options)
    if "MALLOC_ARENA_MAX" not in os.environ:  # As a job's workers on CPUs have it.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_FREED_MEMORY)
    torch.set_num_threads(chosen.threads)
    total = MOST_UPDATES * (chosen.rounds + 1) * len(WAYS)
    recipe = overrides(chosen.model, chosen.samples, chosen.length, chosen.tokens, total)
    with temporary_store() as store:
        job = sample_job(store, recipe, chosen.model, chosen.samples)
        found = turns(job, chosen.model, chosen.updates, chosen.rounds)
    step = median(done.whole / done.updates for done in found[NONE])
    print(table(HEADER, rows(found, step)))
    print(
        f"\nMedians of {chosen.rounds} turns of {chosen.updates} updates or more; {chosen.tokens} tokens, {step:.2f} s "
        f"an update; {chosen.model.name}, fp32, {chosen.threads} threads; {machine()}"
    )


if __name__ == "__main__":
    main()
