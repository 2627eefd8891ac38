"""Private interfaces of Ray Train 2.60: policies for the size of a worker group and for its failures.

Ray Train has no public interface for either: `ScalingConfig` and `FailureConfig` select among its own policies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

from ray.train import FailureConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.constants import (
    HEALTH_CHECK_INTERVAL_S_ENV_VAR,
    WORKER_GROUP_START_TIMEOUT_S_ENV_VAR,
    WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR,
)
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.context import TrainRunContext
from ray.train.v2._internal.execution.controller.state import (
    ReschedulingState,
    RunningState,
    TrainControllerState,
)
from ray.train.v2._internal.execution.failure_handling import FailureDecision, FailurePolicy
from ray.train.v2._internal.execution.scaling_policy import (
    ElasticScalingPolicy,
    NoopDecision,
    ScalingDecision,
)
from ray.train.v2._internal.execution.worker_group import WorkerGroupPollStatus, WorkerGroupState
from ray.util.placement_group import PlacementGroup


class GroupSizePolicy(ABC):
    """Decides how many workers a group starts with; a group that runs keeps its size.

    It travels to Ray Train's controller, which calls all of these methods.
    """

    @abstractmethod
    def on_controller_start(self) -> None:
        """Prepare the controller's process."""

    @abstractmethod
    def on_group_start(self, has_started: bool) -> None:
        """A group has started, or could not be placed and will be tried again."""

    @abstractmethod
    def on_group_poll(self, group: PlacementGroup, num_workers: int) -> None:
        """A group runs; called about once a second."""

    @abstractmethod
    def num_workers_to_start(self) -> int | None:
        """Return how many workers to start now; None: none yet, ask again in about a second."""


class RetryPolicy(Protocol):
    """Decides whether a run continues after a failure of its workers or its controller."""

    def should_retry(self, error: TrainingFailedError) -> bool:
        """Whether to start the workers again."""
        ...


class PolicyTrainer(TorchTrainer):
    """Ray Train's trainer for torch, with policies of its caller."""

    def __init__(
        self, *args: Any, group_size: GroupSizePolicy, retry: RetryPolicy, **options: Any
    ) -> None:
        """Take `TorchTrainer`'s own arguments as well.

        Args:
            args: `TorchTrainer`'s.
            group_size: decides how many workers start.
            retry: decides which failures end the run.
            options: `TorchTrainer`'s.
        """
        super().__init__(*args, **options)
        self._group_size, self._retry = group_size, retry

    def _initialize_and_run_controller(self, **options: Any) -> Any:
        options["scaling_policy"] = _ScalingPolicy(self.scaling_config, self._group_size)
        options["failure_policy"] = _FailurePolicy(self._retry)
        return super()._initialize_and_run_controller(**options)


class _ScalingPolicy(ElasticScalingPolicy):
    """A `GroupSizePolicy` as Ray Train's controller expects it."""

    def __init__(self, scaling_config: ScalingConfig, policy: GroupSizePolicy) -> None:
        super().__init__(scaling_config)
        self._policy = policy

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        super().after_controller_start(train_run_context)
        self._policy.on_controller_start()

    def after_controller_state_update(
        self, previous_state: TrainControllerState, current_state: TrainControllerState
    ) -> None:
        if isinstance(current_state, RunningState | ReschedulingState) and not isinstance(
            previous_state, RunningState
        ):
            self._policy.on_group_start(isinstance(current_state, RunningState))

    def make_decision_for_running_worker_group(
        self, worker_group_state: WorkerGroupState, worker_group_status: WorkerGroupPollStatus
    ) -> ScalingDecision:
        # The request expires in Ray's autoscaler unless it is repeated.
        self._maybe_send_resource_request()
        group = worker_group_state.placement_group_handle.placement_group
        self._policy.on_group_poll(group, worker_group_state.num_workers)
        return NoopDecision()

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        self._maybe_send_resource_request()
        workers = self._policy.num_workers_to_start()
        return NoopDecision() if workers is None else self._get_resize_decision(workers)


class _FailurePolicy(FailurePolicy):
    """A `RetryPolicy` as Ray Train's controller expects it."""

    def __init__(self, policy: RetryPolicy) -> None:
        super().__init__(FailureConfig())
        self._policy = policy

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        retry = self._policy.should_retry(training_failed_error)
        return FailureDecision.RETRY if retry else FailureDecision.RAISE


def is_startup_timeout(error: Exception) -> bool:
    """Whether a controller failed because a group got no resources in time.

    Ray Train's public errors hold this one, which has no public name.
    """
    return isinstance(error, WorkerGroupStartupTimeoutError)


def controller_timeouts(
    poll_interval_s: float, group_start_timeout_s: float, worker_hang_timeout_s: float
) -> dict[str, str]:
    """Return environment variables of a driver that set its controller's timeouts.

    Ray Train documents none of them, and ignores names that it does not know.

    Args:
        poll_interval_s: between two polls of the workers.
        group_start_timeout_s: for a group to get its resources.
        worker_hang_timeout_s: for a worker to answer a poll.
    """
    values = {
        HEALTH_CHECK_INTERVAL_S_ENV_VAR: poll_interval_s,
        WORKER_GROUP_START_TIMEOUT_S_ENV_VAR: group_start_timeout_s,
        WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR: worker_hang_timeout_s,
    }
    return {name: str(value) for name, value in values.items()}
