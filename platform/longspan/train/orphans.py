"""Placement groups that a dead controller of Ray Train has left behind.

Ray keeps such a group until the job ends. Ray Train's own cleaner removes it after seconds, and never
where the cleaner has died as well or the head has no dashboard: the next controller would wait for good.
"""

from __future__ import annotations

from collections.abc import Iterable

import ray
from ray import ActorID, PlacementGroupID
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, remove_placement_group


def remove_orphaned_groups() -> None:
    """Remove the groups of this job whose actors are dead."""
    accessor = ray._private.state.state._connect_and_get_accessor()
    table = map(PlacementGroupTableData.FromString, accessor.get_placement_group_table())
    job = bytes.fromhex(ray.get_runtime_context().get_job_id())
    for group in orphaned(table, job):
        remove_placement_group(PlacementGroup(PlacementGroupID(group)))


def orphaned(table: Iterable[PlacementGroupTableData], job: bytes) -> list[bytes]:
    """Ids of the groups that a dead actor of a job has made, of those that still hold resources."""
    return [
        row.placement_group_id
        for row in table
        if row.creator_job_id == job
        and row.creator_actor_dead
        # Ray takes the actor of a group that a driver has made for dead.
        and not ActorID(row.creator_actor_id).is_nil()
        and not row.is_detached
        and row.state != PlacementGroupTableData.REMOVED
    ]
