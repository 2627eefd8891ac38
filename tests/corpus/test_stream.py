"""The stream through Ray Data and Ray Train, against the same rows read alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longspan.corpus.batch import Batch
from longspan.corpus.order import Stage
from longspan.corpus.stream import OrderedDataConfig, batches
from longspan.corpus.streamplan import StreamPlan, local_batches
from longspan.errors import UserError
from tests.corpus.conftest import Sources, corrupt, order_of

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("ray_session")]

CRASH_AFTER = 17


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_global_batches_are_the_same_after_a_crash_and_for_any_number_of_workers(
    plan: StreamPlan, tmp_path: Path, world_size: int
) -> None:
    """Through a TorchTrainer whose workers take every CPU; the rows become longer on the way."""
    import ray.data
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    records = tmp_path / "records"
    records.mkdir()
    TorchTrainer(
        _worker(),
        train_loop_config={"plan": plan, "records": records},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(
            num_workers=world_size, resources_per_worker={"CPU": 2 / world_size}
        ),
        run_config=RunConfig(
            storage_path=str(tmp_path / "runs"), failure_config=FailureConfig(max_failures=1)
        ),
        datasets={"train": ray.data.range(1)},
        dataset_config=OrderedDataConfig(lambda: replace(plan, first_update=_done(records))),
    ).fit()

    assert len(list(records.glob("start-*"))) == 2
    for update, whole in enumerate(local_batches(plan, 0, 1)):
        parts = [
            np.load(records / f"update-{update}-rank-{rank}.npz") for rank in range(world_size)
        ]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in _ARRAYS}
        real = joined["indices"] >= 0
        for name in _ARRAYS:
            assert np.array_equal(joined[name][real], getattr(whole, name)), (update, name)
        assert (joined["labels"][~real] == -100).all()
    assert update == plan.order.num_updates - 1


def test_items_of_several_updates(plan: StreamPlan) -> None:
    plan = replace(plan, first_update=3, most_items=6)
    assert plan.updates_per_item(1) == 7
    with streaming(plan) as stream:
        assert_same(stream, local_batches(plan, 0, 1))


def test_two_readers_keep_the_order(store: Any, sources: Sources) -> None:
    order = order_of(sources, (Stage(16, 1, 700),))
    plan = StreamPlan(store, sources, order, 0, document_mask=False, readers=2)
    with streaming(plan) as stream:
        assert_same(stream, local_batches(plan, 0, 1))


def test_a_rank_ahead_of_the_others_finds_a_bounded_number_of_rows(
    store: Any, sources: Sources
) -> None:
    """Reading stops when the look-ahead is full, and goes on when somebody takes a row."""
    order = order_of(sources, (Stage(2**20, 1, 200),))
    plan = StreamPlan(store, sources, order, 0, document_mask=False, look_ahead=4)
    with streaming(plan) as stream:
        produced = [_produced_after(stream, taken) for taken in (1, 20)]
    assert produced == sorted(produced)


def test_a_corrupt_shard_reaches_the_trainer_by_name(plan: StreamPlan) -> None:
    corrupt(plan.store, plan.manifests[0].train[0].shard)
    with streaming(plan) as stream, pytest.raises(UserError, match=r"a/train\.parquet.*corrupt"):
        list(stream)


@contextmanager
def streaming(plan: StreamPlan) -> Iterator[Iterator[Batch]]:
    """The stream of one rank, taken by this process."""
    (split,) = OrderedDataConfig(lambda: plan).configure({"train": None}, 1, None, None)
    stream = batches(split["train"], plan, 0, 1)
    yield stream
    stream.close()


def assert_same(stream: Iterator[Batch], expected: Iterator[Batch]) -> None:
    for one, other in zip(stream, expected, strict=True):
        assert one.update == other.update
        for name in _ARRAYS:
            assert np.array_equal(getattr(one, name), getattr(other, name))


_ARRAYS = ("indices", "sources", "tokens", "labels", "positions")
