"""The stream through Ray Data and Ray Train, against the same rows read alone."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longspan.errors import UserError
from longspan.order.order import Order, Stage
from longspan.shards.manifest import SourceManifest
from longspan.shards.token_shards import write_shard
from longspan.storage import Store
from longspan.stream.batch import Batch
from longspan.stream.plan import StreamPlan, local_batches
from longspan.stream.ray_data import OrderedDataConfig, batches
from longspan.stream.row import Rows
from longspan.stream.rows import RowReader
from tests.sources import Sources, corrupt, order_of

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("ray_session")]

CRASH_BEFORE = 23
ARRAYS = ("indices", "sources", "tokens", "labels", "positions")


@pytest.mark.deep
def test_a_crash_and_a_resize_do_not_change_the_global_batches(
    plan: StreamPlan, tmp_path: Path
) -> None:
    """Three workers, rows that become longer and fewer than workers, a crash, then two workers."""
    from ray.train import TrainingFailedError

    with pytest.raises(TrainingFailedError, match="the crash of this test"):
        fit(plan, tmp_path, world_size=3)
    fit(plan, tmp_path, world_size=2)

    assert {path.name for path in tmp_path.glob("start-*")} == {"start-0", f"start-{CRASH_BEFORE}"}
    wholes = list(local_batches(plan, 0, 1))
    assert len(wholes) == plan.order.num_updates
    for whole in wholes:
        ranks = 3 if whole.update < CRASH_BEFORE else 2
        parts = [np.load(record(tmp_path, whole.update, rank)) for rank in range(ranks)]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in ARRAYS}
        real = joined["indices"] >= 0
        for name in ARRAYS:
            assert np.array_equal(joined[name][real], getattr(whole, name)), (whole.update, name)
        assert (joined["labels"][~real] == -100).all()


def test_items_of_several_updates(plan: StreamPlan) -> None:
    plan = replace(plan, first_update=3, most_items=6)
    assert plan.updates_per_group(1) == 7
    with streaming(plan) as stream:
        assert_same(stream, local_batches(plan, 0, 1))


def test_workers_that_share_rows_get_the_same_ones(plan: StreamPlan) -> None:
    """Two on one node and two on another, whose ranks do not follow the nodes."""
    plan = replace(plan, sequence_parallel=2)
    nodes = ["a", "b", "a", "b"]
    splits = OrderedDataConfig(lambda: plan).configure({"train": None}, 4, None, nodes)
    seats = [0, 2, 1, 3]
    streams = [
        batches(split["train"], plan, seat, 4) for split, seat in zip(splits, seats, strict=True)
    ]
    with ThreadPoolExecutor(4) as threads:  # None is given anything before all have asked.
        found = list(threads.map(list, streams))
    for given, seat in zip(found, seats, strict=True):
        assert_same(iter(given), local_batches(plan, seat, 4))
        recorded = sum(len(batch.rows) for batch in given)
        assert bool(recorded) == (seat % 2 == 0)
    assert_same(iter(found[0]), iter(found[2]))


def test_two_readers_keep_the_order(store: Store, sources: Sources) -> None:
    order = order_of(sources, (Stage(16, 1, 200),))
    plan = StreamPlan(store, sources, order, 0, document_mask=False, readers=2, item_tokens=16)
    with streaming(plan) as stream:
        assert_same(stream, local_batches(plan, 0, 1))


def test_a_slow_trainer_is_not_run_away_from(store: Store, tmp_path: Path) -> None:
    length = 2**18
    blocks = write_shard(store, "long.parquet", [np.ones(length, np.int32)] * 10, length)
    source = SourceManifest("long", "long", "tokenizer", tuple(blocks))
    order = Order([[length] * 10], [1.0], (Stage(length, 1, 200),), seed=0)
    log = tmp_path / "log"
    plan = WatchedPlan(store, (source,), order, 0, document_mask=False, log=log)
    with streaming(plan) as stream:
        next(stream)
        # Long enough for every row to be read, were it allowed.
        for _ in range(2):
            assert len(list(local_batches(plan, 0, 1))) == 200
        read = log.stat().st_size - 2 * 200
        # Items are of 4 rows; the look-ahead holds 3 of them by its own count of bytes, 18 rows,
        # and some are on their way through every operator.
        assert 1 <= read < 80
        for update in range(1, 60):
            assert next(stream).update == update


def test_a_corrupt_shard_reaches_the_trainer_by_name(plan: StreamPlan) -> None:
    corrupt(plan.store, plan.manifests[0].train[0].shard)
    with streaming(plan) as stream, pytest.raises(UserError, match=r"a/train\.parquet.*corrupt"):
        list(stream)


@dataclass(frozen=True)
class WatchedPlan(StreamPlan):
    """Notes every read of rows."""

    log: Path = Path()

    def reader(self) -> RowReader:
        return WatchedReader(self.store, self.manifests, self.order, self.log)


class WatchedReader(RowReader):
    def __init__(self, store: Store, manifests: Sources, order: Order, log: Path) -> None:
        super().__init__(store, manifests, order)
        self._log = log

    def read_many(self, indices: np.ndarray) -> Rows:
        with self._log.open("ab") as log:
            log.write(b"." * len(indices))
        return super().read_many(indices)


def fit(plan: StreamPlan, records: Path, world_size: int) -> None:
    """Take the stream in a TorchTrainer whose workers leave no CPU to anybody else."""
    import ray.data
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    cpus = ray.cluster_resources()["CPU"] / world_size
    TorchTrainer(
        record_batches,
        train_loop_config={"plan": plan, "records": records},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(
            num_workers=world_size, resources_per_worker={"CPU": int(cpus * 100) / 100}
        ),
        run_config=RunConfig(storage_path=str(records / "runs")),
        datasets={"train": ray.data.range(1)},
        dataset_config=OrderedDataConfig(lambda: replace(plan, first_update=updates_done(records))),
    ).fit()


def record_batches(config: dict[str, Any]) -> None:
    """A worker that keeps what it is given, and crashes on the way the first time."""
    import ray.train
    import torch.distributed as dist

    records: Path = config["records"]
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    plan = replace(config["plan"], first_update=updates_done(records))
    (records / f"start-{plan.first_update}").touch()
    for batch in batches(ray.train.get_dataset_shard("train"), plan, rank, world_size):
        if batch.update == CRASH_BEFORE and plan.first_update == 0:
            dist.barrier()
            (records / "crashed").touch()
            dist.barrier()
            raise RuntimeError("the crash of this test")
        arrays = {name: getattr(batch, name) for name in ARRAYS}
        np.savez(record(records, batch.update, rank), **arrays)


def updates_done(records: Path) -> int:
    """Where the checkpoint would be."""
    return CRASH_BEFORE if (records / "crashed").exists() else 0


def record(records: Path, update: int, rank: int) -> Path:
    """What a rank was given for an update."""
    return records / f"update-{update}-rank-{rank}.npz"


@contextmanager
def streaming(plan: StreamPlan) -> Iterator[Generator[Batch]]:
    """The stream of one rank, taken by this process."""
    (split,) = OrderedDataConfig(lambda: plan).configure({"train": None}, 1, None, ["a"])
    stream = batches(split["train"], plan, 0, 1)
    yield stream
    stream.close()


def assert_same(stream: Iterator[Batch], expected: Iterator[Batch]) -> None:
    for one, other in zip(stream, expected, strict=True):
        assert one.update == other.update
        for name in ARRAYS:
            assert np.array_equal(getattr(one, name), getattr(other, name))
