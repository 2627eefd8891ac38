"""The training loop without Ray: ``torchrun -m longspan.train.standalone recipe.yaml [key=value ...]``."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import torch
import torch.distributed as dist

from longspan.config.load import load
from longspan.errors import UserError
from longspan.observe.tracker import Tracker
from longspan.parallel.groups import join_sequence_group
from longspan.plan.device import Device, this_machines_device
from longspan.recipe.load import load_training
from longspan.recipe.schema import Recipe
from longspan.recipe.sft import SftRecipe
from longspan.stream.batch import Batch
from longspan.stream.plan import local_batches
from longspan.train.checkpoint.checkpoints import CheckpointFacts
from longspan.train.collectives import all_gather_objects, broadcast_object
from longspan.train.elastic.rendezvous import LOOPBACK, use_interface_of
from longspan.train.host import Restart
from longspan.train.job import Job
from longspan.train.loop import train


class LocalHost:
    """A rank of torchrun's (or the only process); checkpoints go to the run's folder in the store."""

    def __init__(self, job: Job) -> None:
        """Form the groups that share rows; the process group must exist."""
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        # torchrun numbers ranks node by node.
        self.group = join_sequence_group(job.recipe.workers.sequence_parallel)
        self._job = job

    def batches(self, first_update: int) -> Iterator[Batch]:
        """The rows of this rank's group, read in its own process."""
        return local_batches(self._job.data.stream(first_update), self.group.seat, self.world_size)

    def notice(self) -> None:
        """Nobody tells it anything."""

    def log(self, line: str) -> None:
        """To standard output."""
        print(line, flush=True)

    def trackers(self) -> list[Tracker]:
        """None beyond the common ones."""
        return []


def run(job: Job) -> None:
    """Train, from the beginning or the latest checkpoint, as often as it takes."""
    host = LocalHost(job)
    while True:
        try:
            return train(job, host)
        except Restart as reason:
            if host.rank == 0:
                host.log(f"starting again: {reason}")
        # DeepSpeed's engine refers to itself: it would stay beside the next one.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _init_process_group() -> None:
    """Join torchrun's process group, or make one of this process alone, which listens on loopback only."""
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend)
        return
    use_interface_of(LOOPBACK)
    # What DeepSpeed expects to find.
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR=LOOPBACK)
    os.environ.setdefault("MASTER_PORT", "29500")
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)


def _prepare(recipe: Recipe) -> Job:
    """Return the same job on all ranks: rank 0 prepares it first, and the others find what it has stored.

    Raises:
        UserError: rank 0's, on all ranks; or the ranks came to different jobs.
    """
    from longspan.train.prepare import prepare_without_ray

    device = Device(
        **broadcast_object(lambda: asdict(this_machines_device(recipe.workers.gpus_per_worker)))
    )
    prepared: list[Job] = []
    broadcast_object(lambda: prepared.append(prepare_without_ray(recipe, device)))
    job = prepared[0] if prepared else prepare_without_ray(recipe, device, log=lambda line: None)
    facts = job.checkpoint_facts()
    for other in map(CheckpointFacts.from_json, all_gather_objects(facts.to_json())):
        for each in facts.differences(other):
            raise UserError(
                f"{each.key}: one rank has {each.saved}, another {each.current}; give all ranks the same "
                "recipe and store, and start again when nothing changes the corpora"
            )
    return job


EXAMPLES = """
examples:
  torchrun --nproc-per-node 8 -m longspan.train.standalone my.yaml
  torchrun --nproc-per-node 2 -m longspan.train.standalone my-sft.yaml workers=2

Token shards must exist already: longspan ingest my.yaml writes them. As many processes as the recipe has
workers; everything else is as in longspan pretrain and sft, and runs can be resumed by either.
"""


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="torchrun -m longspan.train.standalone",
        description="Train a recipe without Ray, in the processes that torchrun starts.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", help="YAML file, of longspan pretrain or sft")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="change one value")
    parser.add_argument(
        "--sft",
        action="store_true",
        help="the recipe is one of longspan sft (if not plain from it)",
    )
    return parser.parse_intermixed_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Train one recipe in the processes that torchrun started (or in this one alone)."""
    options = _options(arguments)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        _init_process_group()
        path, overrides = options.recipe, options.overrides
        recipe = load(SftRecipe, path, overrides) if options.sft else load_training(path, overrides)
        job = _prepare(recipe)
        least, most = job.plan.workers
        if not least <= dist.get_world_size() <= most:
            asked = f"{least}" if least == most else f"{least} to {most}"
            raise UserError(
                f"workers: the recipe says {asked}, torchrun started {dist.get_world_size()}"
            )
        run(job)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Gloo's threads may still hold tensors, and abort a process whose interpreter is being taken down.
    os._exit(status)
