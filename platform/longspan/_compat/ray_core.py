"""Private interfaces of Ray Core 2.60: nodes, labels, placement groups and the autoscaler's refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import ray
from ray import ActorID, PlacementGroupID
from ray._raylet import node_labels_match_selector
from ray.core.generated.common_pb2 import PlacementStrategy
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup
from ray.util.placement_group import remove_placement_group as _remove_placement_group

PlacementGroupState = Literal["PENDING", "PREPARED", "CREATED", "REMOVED", "RESCHEDULING"]

ACTOR_ROLES = {
    "TrainController": "Ray Train's controller",
    "RayTrainWorker": "a training worker",
    "DatasetManager": "Ray Train's data manager",
    "SplitCoordinator": "the coordinator of the data stream",
    "MapWorker": "a worker of Ray Data",
}
"""Roles of actors that Ray's libraries start for a job, by the beginning of the class name.

Ray's errors about dead actors name the class and nothing else.
"""


def available_resources_per_node() -> dict[str, dict[str, float]]:
    """Return the resources that are free on each node, by node id.

    `ray.available_resources`, the public function, adds the nodes up.
    """
    return ray._private.state.available_resources_per_node()


def draining_nodes() -> dict[str, int]:
    """Return the nodes that are being drained, each with its deadline in milliseconds since 1970, or 0.

    No public function tells that a node is draining; `ray.nodes` lists it as alive.
    """
    return ray._private.state.state.get_draining_nodes()


def matches_selector(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether a node with these labels satisfies a label selector.

    The grammar of selectors is public, the function that evaluates one is not.
    """
    return node_labels_match_selector(dict(labels), dict(selector))


@dataclass(frozen=True)
class Bundle:
    """A bundle of a placement group.

    Attributes:
        resources: amount of each resource that it reserves.
        selector: label selector of its node.
        is_placed: whether it is on a node.
    """

    resources: Mapping[str, float]
    selector: Mapping[str, str]
    is_placed: bool


@dataclass(frozen=True)
class PlacementGroupRecord:
    """A row of Ray's table of placement groups.

    Attributes:
        id: of the group, in hexadecimal.
        name: empty where its creator gave none.
        state: of the group.
        bundles: all of them, placed or not.
        is_strict_pack: whether all bundles have to be on one node.
        created_ms: when it was created, in milliseconds since 1970.
        creator_job_id: job that created it, in hexadecimal.
        creator_actor_id: actor that created it, in hexadecimal; None: a driver did.
        is_creator_actor_dead: whether that actor is dead; also true where a driver created the group.
        is_detached: whether it outlives its creator.
    """

    id: str
    name: str
    state: PlacementGroupState
    bundles: tuple[Bundle, ...]
    is_strict_pack: bool
    created_ms: int
    creator_job_id: str
    creator_actor_id: str | None
    is_creator_actor_dead: bool
    is_detached: bool

    @classmethod
    def from_row(cls, row: PlacementGroupTableData) -> PlacementGroupRecord:
        """Convert a row as Ray stores it."""
        actor = row.creator_actor_id
        return cls(
            id=row.placement_group_id.hex(),
            name=row.name,
            state=PlacementGroupTableData.PlacementGroupState.Name(row.state),
            bundles=tuple(
                Bundle(
                    dict(bundle.unit_resources), dict(bundle.label_selector), bool(bundle.node_id)
                )
                for bundle in row.bundles
            ),
            is_strict_pack=row.strategy == PlacementStrategy.STRICT_PACK,
            created_ms=row.placement_group_creation_timestamp_ms,
            creator_job_id=row.creator_job_id.hex(),
            creator_actor_id=actor.hex() if actor and not ActorID(actor).is_nil() else None,
            is_creator_actor_dead=row.creator_actor_dead,
            is_detached=row.is_detached,
        )


def placement_groups() -> list[PlacementGroupRecord]:
    """Return all placement groups of the cluster, removed ones included.

    The public `placement_group_table` has neither label selectors nor creators.
    """
    accessor = ray._private.state.state._connect_and_get_accessor()
    rows = map(PlacementGroupTableData.FromString, accessor.get_placement_group_table())
    return [PlacementGroupRecord.from_row(row) for row in rows]


def remove_placement_group(group_id: str) -> None:
    """Remove a placement group by its id.

    The public function takes a handle, which only the creator has.
    """
    _remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group_id))))


@dataclass(frozen=True)
class FailedLaunch:
    """A node that the autoscaler could not start.

    Attributes:
        node_type: name of its type in the cluster's configuration.
        failed_at_s: when it failed, in seconds since 1970; 0 where Ray does not tell.
    """

    node_type: str
    failed_at_s: float


def failed_launches() -> list[FailedLaunch]:
    """Return the nodes that the autoscaler could not start lately.

    `ray status` prints them; no public function returns them.

    Raises:
        RayError: the head does not answer.
    """
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    return [
        FailedLaunch(each.ray_node_type_name, each.failed_ts_s or 0.0)
        for each in status.failed_launches
    ]
