"""Private interfaces of Ray Train: its controller as it uses policies."""

import ast
import inspect
import textwrap
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.train import ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal import constants
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.controller import controller
from ray.train.v2._internal.execution.controller.controller import TrainController
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    RunningState,
    SchedulingState,
    TrainControllerState,
)
from ray.train.v2._internal.execution.failure_handling import FailureDecision, FailurePolicy
from ray.train.v2._internal.execution.scaling_policy import (
    NoopDecision,
    ResizeDecision,
    ScalingPolicy,
)
from ray.train.v2._internal.execution.worker_group import WorkerGroupPollStatus, WorkerGroupState
from ray.train.v2._internal.execution.worker_group.placement_group_handle import (
    DefaultPlacementGroupHandle,
)
from ray.util.placement_group import PlacementGroup

from longspan._compat.ray_train import (
    GroupSizePolicy,
    PolicyTrainer,
    RetryPolicy,
    controller_timeouts,
    is_startup_timeout,
)

CONFIG = ScalingConfig(num_workers=(1, 8), resources_per_worker={"CPU": 2})


@dataclass
class Size(GroupSizePolicy):
    """A policy that records its calls."""

    workers: int | None = None
    calls: list[Any] = field(default_factory=list)

    def on_controller_start(self) -> None:
        self.calls.append("controller")

    def on_group_start(self, has_started: bool) -> None:
        self.calls.append(has_started)

    def on_group_poll(self, group: PlacementGroup, num_workers: int) -> None:
        self.calls.append((group, num_workers))

    def num_workers_to_start(self) -> int | None:
        return self.workers


@dataclass
class Retry(RetryPolicy):
    decision: bool

    def should_retry(self, error: TrainingFailedError) -> bool:
        return self.decision


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arguments of the controller that the trainers of a test would start."""
    found: dict[str, Any] = {}

    def start(trainer: TorchTrainer, **options: Any) -> None:
        found.update(options)

    monkeypatch.setattr(TorchTrainer, "_initialize_and_run_controller", start)
    monkeypatch.setattr(ScalingPolicy, "_maybe_send_resource_request", lambda self: None)
    return found


def policies(
    given: dict[str, Any], size: Size, retry: bool = True
) -> tuple[ScalingPolicy, FailurePolicy]:
    """What Ray Train's controller gets of these policies."""
    trainer = PolicyTrainer(
        lambda: None, scaling_config=CONFIG, group_size=size, retry=Retry(retry)
    )
    # As `fit` does, with policies of Ray Train's own; `fit` would start Ray.
    trainer._initialize_and_run_controller(scaling_policy=None, failure_policy=None)
    return given["scaling_policy"], given["failure_policy"]


def test_a_trainer_gives_its_controller_the_policies(given: dict[str, Any]) -> None:
    scaling, failures = policies(given, Size())
    assert isinstance(scaling, ScalingPolicy) and isinstance(failures, FailurePolicy)
    assert scaling.scaling_config is CONFIG
    assert given.keys() <= inspect.signature(TrainController.__init__).parameters.keys()
    fit = ast.parse(textwrap.dedent(inspect.getsource(TorchTrainer.fit)))
    calls = [node for node in ast.walk(fit) if isinstance(node, ast.Call)]
    (start,) = (
        call for call in calls if ast.unparse(call.func) == "self._initialize_and_run_controller"
    )
    assert given.keys() <= {keyword.arg for keyword in start.keywords}


def test_a_group_starts_with_as_many_workers_as_the_policy_says(given: dict[str, Any]) -> None:
    size = Size()
    scaling, _ = policies(given, size)
    assert scaling.make_decision_for_non_running_worker_group() == NoopDecision()
    size.workers = 3
    decision = scaling.make_decision_for_non_running_worker_group()
    assert decision == ResizeDecision(num_workers=3, resources_per_worker={"CPU": 2})


def test_a_group_that_runs_keeps_its_size(given: dict[str, Any]) -> None:
    size = Size()
    scaling, _ = policies(given, size)
    group = PlacementGroup.empty()
    workers: list[Any] = [None, None]
    state = WorkerGroupState(0.0, DefaultPlacementGroupHandle(group), workers, None)
    status = WorkerGroupPollStatus({})
    assert scaling.make_decision_for_running_worker_group(state, status) == NoopDecision()
    assert size.calls == [(group, 2)]


@pytest.mark.parametrize(
    ("before", "after", "calls"),
    [
        (SchedulingState(NoopDecision()), RunningState(), [True]),
        (SchedulingState(NoopDecision()), ReschedulingState(TrainingFailedError()), [False]),
        (RunningState(), ReschedulingState(TrainingFailedError()), []),
        (RunningState(), RunningState(), []),
        (InitializingState(), SchedulingState(NoopDecision()), []),
    ],
)
def test_the_policy_hears_of_a_group_that_starts_or_cannot(
    given: dict[str, Any],
    before: TrainControllerState,
    after: TrainControllerState,
    calls: list[bool],
) -> None:
    size = Size()
    scaling, _ = policies(given, size)
    scaling.after_controller_state_update(before, after)
    assert size.calls == calls


def test_the_controller_s_start_is_told_by_its_name() -> None:
    source = inspect.getsource(TrainController)
    for name in ("after_controller_start", "after_controller_state_update"):
        assert f'"{name}"' in source, "the controller calls hooks by their names"
        assert hasattr(ScalingPolicy, name)


def test_resources_are_requested_without_arguments() -> None:
    request = inspect.signature(ScalingPolicy._maybe_send_resource_request)
    assert list(request.parameters) == ["self"]


@pytest.mark.parametrize("retry", [True, False])
def test_a_failure_is_tried_again_as_the_policy_says(given: dict[str, Any], retry: bool) -> None:
    _, failures = policies(given, Size(), retry)
    expected = FailureDecision.RETRY if retry else FailureDecision.RAISE
    assert failures.make_decision(TrainingFailedError()) is expected


def test_a_group_that_got_no_resources_is_known_by_its_error() -> None:
    assert is_startup_timeout(WorkerGroupStartupTimeoutError(2))
    assert not is_startup_timeout(TimeoutError())


def test_the_controller_reads_its_timeouts_from_the_environment() -> None:
    timeouts = controller_timeouts(1, 15, 600.0)
    assert list(timeouts.values()) == ["1", "15", "600.0"]
    assert timeouts.keys() <= constants.ENV_VARS_TO_PROPAGATE
    assert "HEALTH_CHECK_INTERVAL_S_ENV_VAR" in inspect.getsource(controller)
