"""Placement groups that a dead controller of Ray Train has left behind.

Ray keeps such a group until the job ends. Ray Train's own cleaner removes it after seconds, and never
where the cleaner has died as well or the head has no dashboard: the next controller would wait for good.
"""

from __future__ import annotations

from collections.abc import Iterable

import ray

from longspan._compat.ray_core import (
    PlacementGroupRecord,
    placement_groups,
    remove_placement_group,
)


def remove_orphaned_groups() -> None:
    """Remove the groups of this job whose actors are dead."""
    for group in orphaned(placement_groups(), ray.get_runtime_context().get_job_id()):
        remove_placement_group(group)


def orphaned(groups: Iterable[PlacementGroupRecord], job: str) -> list[str]:
    """Ids of the groups that a dead actor of a job has made, of those that still hold resources."""
    return [
        group.id
        for group in groups
        if group.creator_job_id == job
        and group.creator_actor_id
        and group.is_creator_actor_dead
        and not group.is_detached
        and group.state != "REMOVED"
    ]
