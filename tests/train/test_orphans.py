"""Placement groups that a dead controller has left behind."""

import pytest
from ray import ActorID, JobID, PlacementGroupID
from ray.core.generated.gcs_pb2 import PlacementGroupTableData

from longspan.train.orphans import orphaned

JOB, OTHER = JobID.from_int(1), JobID.from_int(2)


def group(**changes: object) -> PlacementGroupTableData:
    facts = {
        "placement_group_id": PlacementGroupID.of(JOB).binary(),
        "creator_job_id": JOB.binary(),
        "creator_actor_id": ActorID.from_random().binary(),
        "creator_actor_dead": True,
        "state": PlacementGroupTableData.CREATED,
    }
    return PlacementGroupTableData(**facts | changes)


def test_a_group_of_a_dead_controller_is_one() -> None:
    found = group()
    assert orphaned([found, group(creator_actor_dead=False)], JOB.binary()) == [
        found.placement_group_id
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"creator_actor_dead": False},
        {"creator_job_id": OTHER.binary()},
        {"creator_actor_id": ActorID.nil().binary()},
        {"is_detached": True},
        {"state": PlacementGroupTableData.REMOVED},
    ],
)
def test_others_are_left_alone(change: dict[str, object]) -> None:
    assert orphaned([group(**change)], JOB.binary()) == []
