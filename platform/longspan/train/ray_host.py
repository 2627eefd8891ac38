"""The training loop under Ray Train: workers, the data stream, checkpoints in object storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import ray.data
import ray.train
import torch
import torch.distributed as dist
from ray.exceptions import ActorDiedError
from ray.train import ControllerError, RunConfig, ScalingConfig

from longspan._compat.ray_train import PolicyTrainer, controller_timeouts
from longspan.observe.raymetrics import RayMetrics
from longspan.observe.tracker import Tracker
from longspan.parallel.arrangement import count_across_nodes
from longspan.parallel.groups import join_sequence_group
from longspan.runtime.nodes import start_machine
from longspan.runtime.pool import selector
from longspan.runtime.priorities import ResourceRequest
from longspan.runtime.process_deaths import deaths_in_words
from longspan.stream.batch import Batch
from longspan.stream.ray_data import OrderedDataConfig, batches
from longspan.train.collectives import (
    all_gather_objects,
    broadcast_object,
    device_of_messages,
)
from longspan.train.elastic.cluster_monitor import ClusterMonitor, Group
from longspan.train.elastic.on_demand_fallback import Fallback
from longspan.train.elastic.policy import ProgressPolicy, RoomPolicy
from longspan.train.elastic.process_group import BoundTorchConfig
from longspan.train.host import RescaleRequest
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

# Rows of many lengths leave gaps that no later tensor fits into: segments that can grow avoid them.
ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"
EXPANDABLE_SEGMENTS = "expandable_segments:True"

POLL_INTERVAL_S = 1
GROUP_START_TIMEOUT_S = 15
"""A group asks for room that is there: if it does not get it soon, that is gone."""


def fit(job: Job, log: Callable[[str], None]) -> None:
    """Run ``job`` on the connected Ray cluster until it ends; ``log``, on any node, takes its progress.

    Submitting the same name again continues from its last checkpoint.

    Raises:
        KeyboardInterrupt: somebody pressed Ctrl-C; the workers have ended.
    """
    start_machine(job.recipe.data.pool, log)  # Its readers would wait for it without a word.
    workers = job.recipe.workers
    # Ray reads them here and passes them on.
    os.environ.update(
        controller_timeouts(POLL_INTERVAL_S, GROUP_START_TIMEOUT_S, workers.hang_timeout_s)
    )
    failures = ProgressPolicy(job.checkpoints.latest_update, workers.max_failures, log)
    while not _fit_once(job, log, failures):
        pass


def _fit_once(job: Job, log: Callable[[str], None], failures: ProgressPolicy) -> bool:
    """Run it under one controller of Ray Train's; False if that has died and the run is to start again.

    The controller decides about all other failures, with a copy of the policy as it is here.
    """
    try:
        _trainer(job, log, failures).fit()
    except SystemExit as ended:
        # Ray Train's answer to Ctrl-C: it ends the workers, then the process, with no status of its own.
        raise KeyboardInterrupt from ended
    except ActorDiedError as error:
        # Ray ends the workers with their controller.
        if not failures.should_retry(ControllerError(error)):
            raise
        return False
    return True


def _trainer(job: Job, log: Callable[[str], None], failures: ProgressPolicy) -> PolicyTrainer:
    filesystem, path = job.store.filesystem_and_path("runs")
    plan, workers, worker = job.plan, job.recipe.workers, _worker(job)
    scaling = ScalingConfig(
        num_workers=workers.min if workers.min == workers.max else (workers.min, workers.max),
        use_gpu=plan.gpus_per_worker > 0,
        resources_per_worker=dict(worker.resources),
        label_selector=dict(worker.selector) or None,
    )
    return PolicyTrainer(
        _train_worker,
        train_loop_config={"job": job, "say": log},
        torch_config=BoundTorchConfig(backend="nccl" if plan.gpus_per_worker else "gloo"),
        scaling_config=scaling,
        run_config=RunConfig(
            name=job.recipe.name,
            storage_path=path,
            storage_filesystem=filesystem,
            worker_runtime_env={"env_vars": worker_environment(plan.gpus_per_worker > 0)},
        ),
        # A placeholder: the stream itself depends on the number of workers and on the latest checkpoint.
        datasets={"train": ray.data.range(1)},
        dataset_config=OrderedDataConfig(
            lambda: job.data.stream(job.checkpoints.latest_update()),
            job.recipe.data.pool or workers.pool,
        ),
        group_size=RoomPolicy(
            scaling,
            worker,
            yields=workers.yield_after_s is not None,
            fallback=Fallback(worker, workers.falls_back_after, log),
            log=log,
            degree=workers.sequence_parallel,
        ),
        retry=failures,
    )


def worker_environment(on_gpu: bool) -> dict[str, str]:
    """Variables that a worker's memory allocator reads when it starts.

    A setting of torch's CUDA allocator in the job's own environment is passed on in place of ours.
    """
    if not on_gpu:
        return KEEP_FREED_MEMORY
    return {ALLOCATOR: os.environ.get(ALLOCATOR, EXPANDABLE_SEGMENTS)}


class RayHost:
    """One Ray Train worker."""

    def __init__(self, job: Job, log: Callable[[str], None]) -> None:
        """Inside a worker only."""
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self._job, self._log = job, log
        nodes = all_gather_objects(ray.get_runtime_context().get_node_id())
        degree = job.recipe.workers.sequence_parallel
        self.group = join_sequence_group(degree, nodes)
        across = count_across_nodes(nodes, degree)
        if across and self.rank == 0:
            log(
                f"workers: {across} of {self.group.count} groups of {degree} workers that share rows are on several "
                "nodes, where they exchange attention's inputs more slowly"
            )
        self._surroundings = self._first_workers_surroundings(nodes)

    def batches(self, first_update: int) -> Iterator[Batch]:
        """The rows that the stream hands to this rank."""
        iterator = ray.train.get_dataset_shard("train")
        return batches(
            iterator, self._job.data.stream(first_update), self.group.seat, self.world_size
        )

    def notice(self) -> RescaleRequest | None:
        """What the first worker noticed; all of them call it."""
        found = self._surroundings.take() if self._surroundings else None
        # One small number, at every update: what it stands for is sent only when there is something.
        told = torch.tensor(int(found is not None), device=device_of_messages())
        dist.broadcast(told, src=0)
        if not told.item():
            return None
        return RescaleRequest(**broadcast_object(lambda: asdict(found) if found else None))

    def log(self, line: str) -> None:
        """To the job's output, by way of the driver."""
        self._log(line)

    def trackers(self) -> list[Tracker]:
        """Ray's own metrics."""
        return [RayMetrics(run=self._job.recipe.name)]

    def _first_workers_surroundings(self, nodes: Sequence[str]) -> ClusterMonitor | None:
        """Monitor of all workers, each on one of ``nodes``; None but on the first worker."""
        if self.rank:
            return None
        workers = self._job.recipe.workers
        group = Group(
            nodes=tuple(nodes),
            least=workers.min,
            most=workers.max,
            each=_worker(self._job),
            grow_after_s=workers.grow_after_s,
            yield_after_s=workers.yield_after_s,
            degree=workers.sequence_parallel,
        )
        return ClusterMonitor(group, self._log)


def _train_worker(config: dict[str, Any]) -> None:
    if not torch.cuda.is_available():
        local = ray.train.get_context().get_local_world_size()
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local))
    job = config["job"]
    with deaths_in_words():
        train(job, RayHost(job, config["say"]))


def _worker(job: Job) -> ResourceRequest:
    """What one worker takes, and of which nodes."""
    gpus, cpus = job.plan.gpus_per_worker, job.plan.cpus_per_worker
    resources = {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}
    return ResourceRequest(resources, selector(job.recipe.workers.pool))
