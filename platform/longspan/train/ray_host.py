"""The training loop under Ray Train: workers, the data stream, checkpoints in object storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.data
import ray.train
import torch
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    CheckpointConsistencyMode,
    FailureConfig,
    RunConfig,
    ScalingConfig,
)
from ray.train.torch import TorchConfig, TorchTrainer

from longspan.errors import UserError
from longspan.observe.raymetrics import RayMetrics
from longspan.observe.tracker import Tracker
from longspan.stream.batch import Batch
from longspan.stream.ray_data import OrderedDataConfig, batches
from longspan.train.checkpoint import FINISHED, checkpoint_name, update_of
from longspan.train.job import Job
from longspan.train.loop import train

# On a CPU every update allocates and frees gigabytes of activations. glibc gives large blocks back to
# the kernel, which clears every page anew, more so in threads (Ray Train's function runs in one):
# kept instead, they cost about a seventh more memory at the peak.
KEEP_FREED_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}


def fit(job: Job, say: Callable[[str], None]) -> None:
    """Run ``job`` on the connected Ray cluster until it ends; ``say``, on any node, takes its progress.

    Submitting the same name again continues from its last checkpoint.

    Raises:
        KeyboardInterrupt: somebody pressed Ctrl-C; the workers have ended.
    """
    if job.store.list(f"{job.run_path}/update-*/{FINISHED}", limit=1):
        raise UserError(
            "name: this run was begun under torchrun, whose checkpoints Ray does not continue; "
            "choose another name"
        )
    filesystem, path = job.store.filesystem_and_path("runs")
    plan = job.plan
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"job": job, "say": say},
        torch_config=TorchConfig(backend="nccl" if plan.gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=plan.workers[0],
            use_gpu=plan.gpus_per_worker > 0,
            resources_per_worker=_resources(plan.gpus_per_worker, plan.cpus_per_worker),
        ),
        run_config=RunConfig(
            name=job.recipe.name,
            storage_path=path,
            storage_filesystem=filesystem,
            checkpoint_config=CheckpointConfig(num_to_keep=job.recipe.training.keep_checkpoints),
            failure_config=FailureConfig(max_failures=0),
            worker_runtime_env={"env_vars": {} if plan.gpus_per_worker else KEEP_FREED_MEMORY},
        ),
        # A placeholder: the stream itself depends on the number of workers and on the latest checkpoint.
        datasets={"train": ray.data.range(1)},
        dataset_config=OrderedDataConfig(lambda: job.stream(saved_update(job))),
    )
    try:
        trainer.fit()
    except SystemExit as ended:
        # Ray Train's answer to Ctrl-C: it ends the workers, then the process, with no status of its own.
        raise KeyboardInterrupt from ended


def saved_checkpoint(job: Job) -> str | None:
    """Path in the store of the run's latest checkpoint, as Ray Train registered it; None in a new run."""
    filesystem, path = job.store.filesystem_and_path(job.run_path)
    try:
        checkpoint = ray.train.Result.from_path(path, storage_filesystem=filesystem).checkpoint
    except RuntimeError:
        return None
    return f"{job.run_path}/{Path(checkpoint.path).name}" if checkpoint else None


def saved_update(job: Job) -> int:
    """Updates done at the run's latest checkpoint."""
    path = saved_checkpoint(job)
    return update_of(Path(path).name) if path else 0


class RayHost:
    """One Ray Train worker."""

    def __init__(self, job: Job, say: Callable[[str], None]) -> None:
        """Inside a worker only."""
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self._job, self._say = job, say

    def batches(self, first_update: int) -> Iterator[Batch]:
        """The rows that the stream hands to this rank."""
        iterator = ray.train.get_dataset_shard("train")
        return batches(iterator, self._job.stream(first_update), self.rank, self.world_size)

    @contextmanager
    def checkpoint(self) -> Iterator[Path | None]:
        """The latest checkpoint, downloaded while in use."""
        latest = ray.train.get_checkpoint()
        if latest is None:
            yield None
            return
        with latest.as_directory() as folder:
            yield Path(folder)

    def save_checkpoint(self, folder: Path, update: int, metrics: dict[str, Any]) -> None:
        """Every rank reports its files; Ray merges them into one folder in the store."""
        ray.train.report(
            metrics,
            Checkpoint.from_directory(str(folder)),
            checkpoint_dir_name=checkpoint_name(update),
        )
        if self.rank == 0:
            # Ray Train's controller takes reports some seconds later: one that ends before has none.
            ray.train.get_all_reported_checkpoints(CheckpointConsistencyMode.COMMITTED)

    def say(self, line: str) -> None:
        """To the job's output, by way of the driver."""
        self._say(line)

    def trackers(self) -> list[Tracker]:
        """Ray's own metrics."""
        return [RayMetrics(run=self._job.recipe.name)]


def _train_worker(config: dict[str, Any]) -> None:
    if not torch.cuda.is_available():
        local = ray.train.get_context().get_local_world_size()
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local))
    job = config["job"]
    train(job, RayHost(job, config["say"]))


def _resources(gpus: float, cpus: float) -> dict[str, float]:
    return {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}
