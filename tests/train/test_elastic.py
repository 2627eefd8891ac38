"""Which failures of a group of workers end a run."""

from typing import TYPE_CHECKING, cast

import pytest
from ray.exceptions import ActorDiedError
from ray.train import ScalingConfig, WorkerGroupError

from longspan.errors import Unreachable, UserError
from longspan.runtime.priorities import ResourceRequest
from longspan.runtime.process_deaths import ProcessDied
from longspan.train import ray_host
from longspan.train.elastic import policy
from longspan.train.elastic.on_demand_fallback import Fallback
from longspan.train.elastic.policy import ProgressPolicy, RoomPolicy, waiting_line
from longspan.train.host import Restart
from tests.deaths import died

if TYPE_CHECKING:
    from longspan.train.job import Job

AGAIN, ENDS = True, False


def decisions(updates: list[int], most: int, error: Exception) -> list[bool]:
    """What becomes of the same failure again and again, with the latest checkpoint at these updates."""
    left = iter(updates)
    scaling = ProgressPolicy(lambda: next(left), most, lambda line: None)
    failure = WorkerGroupError("it failed", {1: error})
    return [scaling.should_retry(failure) for _ in updates]


@pytest.mark.parametrize("error", [RuntimeError("killed"), Unreachable("no answer")])
def test_a_failure_is_tried_again_as_long_as_the_run_gets_on(error: Exception) -> None:
    assert decisions([0, 0, 0], 2, error) == [AGAIN, AGAIN, ENDS]
    assert decisions([0, 0, 20, 20, 40], 2, error) == [AGAIN] * 5


def test_a_mistake_ends_it_and_leaving_is_no_failure() -> None:
    assert decisions([0], 9, UserError("a shard is gone")) == [ENDS]
    assert decisions([0] * 5, 1, Restart("there is room for 2 workers")) == [AGAIN] * 5


@pytest.mark.parametrize(
    ("space", "degree", "workers"), [(7, 1, 7), (7, 2, 6), (7, 4, 4), (9, 4, 8), (3, 2, 2)]
)
def test_a_group_starts_with_whole_groups_of_workers_that_share_rows(
    monkeypatch: pytest.MonkeyPatch, space: int, degree: int, workers: int
) -> None:
    monkeypatch.setattr(policy, "remove_orphaned_groups", lambda: None)
    monkeypatch.setattr(policy, "answering_nodes", dict)
    monkeypatch.setattr(policy, "available_nodes", lambda *_: {})
    monkeypatch.setattr(policy, "worker_nodes", lambda group: [])
    monkeypatch.setattr(policy, "max_workers", lambda *_: space)
    config = ScalingConfig(num_workers=(degree, 8), resources_per_worker={"CPU": 1})
    worker = ResourceRequest({"CPU": 1.0}, {})
    fallback = Fallback(worker, None, lambda line: None)
    scaling = RoomPolicy(config, worker, False, fallback, lambda line: None, degree)
    assert scaling.num_workers_to_start() == workers


def test_what_is_waited_for_is_said() -> None:
    line = waiting_line(2, 8, {"CPU": 4.0, "GPU": 1.0})
    assert line.startswith("waiting: room for 2 of 8 workers of 4 CPU and 1 GPU each;")


def test_a_dead_process_is_told_before_those_that_it_has_taken_along() -> None:
    said: list[str] = []
    scaling = ProgressPolicy(lambda: 20, 1, said.append)
    broken = RuntimeError("Connection closed by peer\nand so on")
    failures = {0: broken, 1: died("RayTrainWorker")}
    assert scaling.should_retry(WorkerGroupError("it failed", failures)) is AGAIN
    (line,) = said
    assert line.startswith("failed: worker 1: a training worker died (process 77 on 10.0.0.3): it ")
    assert line.endswith(
        "or crashed; worker 0: RuntimeError: Connection closed by peer; starting again from the "
        "checkpoint at update 20"
    )


def test_what_all_workers_say_is_said_once() -> None:
    said: list[str] = []
    failures = {rank: ProcessDied("the coordinator died") for rank in range(64)}
    failures |= {64: ValueError("one"), 65: ValueError("two"), 66: ValueError("three")}
    scaling = ProgressPolicy(lambda: 20, 1, said.append)
    scaling.should_retry(WorkerGroupError("it failed", failures))
    assert said == [
        "failed: worker 0: the coordinator died (the same on 63 other workers); worker 64: ValueError: "
        "one; worker 65: ValueError: two; and 1 more; starting again from the checkpoint at update 20"
    ]


def test_deaths_of_the_controller_are_counted_as_other_failures_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    checkpoints = iter([0, 20, 20, 20])
    starts: list[int] = []

    class Trainer:
        def fit(self) -> None:
            starts.append(1)
            raise died("TrainController")

    monkeypatch.setattr(ray_host, "_trainer", lambda job, log, failures: Trainer())
    scaling = ProgressPolicy(lambda: next(checkpoints), 2, said.append)
    with pytest.raises(ActorDiedError):
        while not ray_host._fit_once(cast("Job", None), said.append, scaling):
            pass
    assert len(starts) == 4
    assert said[0].startswith(
        "failed: Ray Train's controller died (process 77 on 10.0.0.3): it was"
    )
    assert said[0].endswith("; starting again from the checkpoint at update 0")
    assert said[3].startswith("failed 3 times in a row without a new checkpoint: Ray Train's contr")


def test_workers_on_gpus_have_segments_that_can_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    expected = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    assert ray_host.worker_environment(on_gpu=True) == expected
    assert ray_host.worker_environment(on_gpu=False) == ray_host.KEEP_FREED_MEMORY
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:512")
    expected = {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:512"}
    assert ray_host.worker_environment(on_gpu=True) == expected
