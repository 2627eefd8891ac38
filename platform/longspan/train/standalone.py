"""The training loop without Ray: ``torchrun -m longspan.train.standalone recipe.yaml [key=value ...]``.

Token shards must exist already (the Ray job writes them); everything else is the same.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from longspan.errors import UserError
from longspan.observe.tracker import Tracker
from longspan.stream.batch import Batch
from longspan.stream.plan import local_batches
from longspan.train.checkpoint import FINISHED, checkpoint_name
from longspan.train.job import Job
from longspan.train.loop import train


class LocalHost:
    """A rank of torchrun's (or the only process); checkpoints go to the run's folder in the store."""

    def __init__(self, job: Job) -> None:
        """The process group must exist."""
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self._job = job

    def batches(self, first_update: int) -> Iterator[Batch]:
        """This rank's rows, read in its own process."""
        return local_batches(self._job.stream(first_update), self.rank, self.world_size)

    @contextmanager
    def checkpoint(self) -> Iterator[Path | None]:
        """The newest finished checkpoint of this run, downloaded while in use."""
        finished = self._finished()
        if not finished:
            self._refuse_rays_run()
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="longspan-checkpoint-") as folder:
            self._job.store.download(finished[-1], folder)
            yield Path(folder)

    def save_checkpoint(self, folder: Path, update: int, metrics: dict[str, Any]) -> None:
        """Put all ranks' files into the run's folder of the store; a mark, last, says that they are whole."""
        store, path = self._job.store, f"{self._job.run_path}/{checkpoint_name(update)}"
        store.upload(folder, path)
        dist.barrier()
        if self.rank == 0:
            store.write_bytes(f"{path}/{FINISHED}", b"")
            for old in self._finished()[: -self._job.recipe.training.keep_checkpoints]:
                store.delete(old)
        dist.barrier()

    def say(self, line: str) -> None:
        """To standard output."""
        print(line, flush=True)

    def trackers(self) -> list[Tracker]:
        """None beyond the common ones."""
        return []

    def _refuse_rays_run(self) -> None:
        if self._job.store.exists(f"{self._job.run_path}/checkpoint_manager_snapshot.json"):
            raise UserError(
                "name: this run was begun under Ray, whose checkpoints torchrun does not continue; "
                "choose another name"
            )

    def _finished(self) -> list[str]:
        """Finished checkpoints' folders in the store, the oldest first."""
        marks = self._job.store.list(f"{self._job.run_path}/update-*/{FINISHED}")
        return [mark.path.removesuffix(f"/{FINISHED}") for mark in marks]


def main(arguments: Sequence[str]) -> int:
    """Train one recipe in the processes that torchrun started (or in this one alone)."""
    from longspan.train.prepare import prepare_without_ray

    if not arguments:
        print(__doc__)
        return 2
    os.environ.setdefault("RANK", "0")
    os.environ.setdefault("LOCAL_RANK", "0")
    os.environ.setdefault("WORLD_SIZE", "1")
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        job = _from_first_rank(lambda: prepare_without_ray(Path(arguments[0]), arguments[1:]))
        if job.plan.workers[0] != dist.get_world_size():
            raise UserError(
                f"workers: the recipe says {job.plan.workers[0]}, torchrun started {dist.get_world_size()}"
            )
        train(job, LocalHost(job))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return 0


def _from_first_rank(prepare: Callable[[], Job]) -> Job:
    """One rank's job on all of them: what is ready to train on may change from one look to the next.

    Raises:
        UserError: the first rank's, on every rank.
    """
    found: list[Job | UserError | None] = [None]
    if dist.get_rank() == 0:
        try:
            found[0] = prepare()
        except UserError as error:
            found[0] = error
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dist.broadcast_object_list(found, src=0, device=device)
    if isinstance(found[0], UserError):
        raise found[0]
    assert found[0] is not None, "rank 0 gave no job"
    return found[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
