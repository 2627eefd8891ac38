"""Which failures of a group of workers end a run."""

import pytest
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2.api.exceptions import WorkerGroupError

from longspan.errors import Unreachable, UserError
from longspan.train.elastic import ProgressPolicy, waiting_line
from longspan.train.host import Restart

AGAIN, ENDS = FailureDecision.RETRY, FailureDecision.RAISE


def decisions(updates: list[int], most: int, error: Exception) -> list[FailureDecision]:
    """What becomes of the same failure again and again, with the latest checkpoint at these updates."""
    left = iter(updates)
    policy = ProgressPolicy(lambda: next(left), most, lambda line: None)
    failure = WorkerGroupError("it failed", {1: error})
    return [policy.make_decision(failure) for _ in updates]


@pytest.mark.parametrize("error", [RuntimeError("killed"), Unreachable("no answer")])
def test_a_failure_is_tried_again_as_long_as_the_run_gets_on(error: Exception) -> None:
    assert decisions([0, 0, 0], 2, error) == [AGAIN, AGAIN, ENDS]
    assert decisions([0, 0, 20, 20, 40], 2, error) == [AGAIN] * 5


def test_a_mistake_ends_it_and_leaving_is_no_failure() -> None:
    assert decisions([0], 9, UserError("a shard is gone")) == [ENDS]
    assert decisions([0] * 5, 1, Restart("there is room for 2 workers")) == [AGAIN] * 5


def test_what_is_waited_for_is_said() -> None:
    line = waiting_line(2, 8, {"CPU": 4.0, "GPU": 1.0})
    assert line.startswith("waiting: room for 2 of 8 workers of 4 CPU and 1 GPU each;")
