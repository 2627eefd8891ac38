"""Messages about a process of a job that died, instead of a traceback."""

import pickle

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayTaskError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from longspan.errors import UserError
from longspan.runtime import console
from longspan.runtime.process_deaths import ProcessDied, death_in, deaths_in_words
from tests.deaths import ENDED, NODE, OWNER, SHORT_OF_MEMORY, died


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("TrainController", "Ray Train's controller"),
        ("RayTrainWorker", "a training worker"),
        ("DatasetManager", "Ray Train's data manager"),
        ("SplitCoordinator", "the coordinator of the data stream"),
        ("MapWorker(ReadGroups->MapBatches(_Reader))", "a worker of Ray Data"),
        ("Collector", "the process that collects the job's output"),
        ("Unheard", "actor Unheard"),
    ],
)
def test_every_actor_is_called_by_what_it_does(name: str, who: str) -> None:
    assert death_in(died(name)) == (
        f"{who} died (process 77 on 10.0.0.3): it was killed, as by the kernel where memory runs out, "
        "or crashed"
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (SHORT_OF_MEMORY, "Ray ended it because its node had too little memory left"),
        (NODE, "its node is gone"),
        (OWNER, "the process that started it died before"),
        (ENDED, "the job ended it"),
        ("It went to sea.", "It went to sea"),
    ],
)
def test_the_reason_is_ray_s_in_plain_words(message: str, reason: str) -> None:
    found = death_in(died("RayTrainWorker", message))
    assert found == f"a training worker died (process 77 on 10.0.0.3): {reason}"


def test_a_death_is_found_in_what_ray_makes_of_it() -> None:
    error = died("SplitCoordinator")
    wrapped = (
        ControllerError(error),
        WorkerGroupError("failed", {1: WorkerHealthCheckFailedError("failed", error)}),
    )
    for each in wrapped:
        found = death_in(each)
        assert found is not None and found.startswith("the coordinator of the data stream died")


def test_a_death_that_a_task_met_is_found_in_its_text() -> None:
    """Ray keeps no more of it, for its error cannot be pickled."""
    met = f"ray::SplitCoordinator.get()\n  File ...\nray.exceptions.ActorDiedError: {died('MapWorker(x)')}"
    found = death_in(RayTaskError("get", met, ValueError("stands for it")))
    assert found == death_in(died("MapWorker(x)"))


def test_a_worker_raises_what_can_travel() -> None:
    with pytest.raises(ProcessDied) as raised, deaths_in_words():
        raise died("SplitCoordinator")
    sent = pickle.loads(pickle.dumps(raised.value))
    found = death_in(WorkerGroupError("failed", {1: sent}))
    assert found == death_in(died("SplitCoordinator"))


@pytest.mark.parametrize("error", [UserError("a shard is gone"), ValueError("mistake")])
def test_a_worker_raises_other_errors_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, deaths_in_words():
        raise error
    assert raised.value is error


def test_a_mistake_counts_more_than_the_death_that_it_was_met_with() -> None:
    with pytest.raises(UserError), deaths_in_words():
        try:
            raise died("SplitCoordinator")
        except ActorDiedError:
            raise UserError("a shard is gone") from None


def test_the_first_to_die_is_told() -> None:
    later = died("SplitCoordinator", OWNER)
    group = WorkerGroupError("failed", {0: later, 1: died("DatasetManager")})
    found = death_in(group)
    assert found is not None and found.startswith("Ray Train's data manager died")


def test_other_failures_are_no_deaths() -> None:
    failed = RayTaskError("Reader.__init__", "a traceback", ValueError("no such file"))
    for error in (ValueError("mistake"), ActorDiedError(failed), ControllerError(KeyError("a"))):
        assert death_in(error) is None


def test_an_actor_that_does_not_answer_is_told() -> None:
    found = death_in(ActorUnavailableError("no route to host", bytes(16)))
    assert found is not None and "no route to host" in found
    found = death_in(
        OutOfMemoryError("Task was killed due to the node running low on memory.\nMore")
    )
    assert found == "Task was killed due to the node running low on memory"


def test_a_driver_says_it_in_one_line_and_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def main(arguments: list[str]) -> int:
        raise died("TrainController")

    assert console.run(main, []) == 1
    assert capsys.readouterr().err == (
        "failed: Ray Train's controller died (process 77 on 10.0.0.3): it was killed, as by the kernel "
        "where memory runs out, or crashed; re-run the same command to resume\n"
    )
