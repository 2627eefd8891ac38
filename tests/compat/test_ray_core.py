"""Private interfaces of Ray Core."""

from dataclasses import fields
from importlib import import_module
from typing import get_args

import pytest
import ray
from ray import ActorID, JobID, PlacementGroupID
from ray.core.generated.common_pb2 import PlacementStrategy
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util import placement_group, placement_group_table

from longspan._compat.ray_core import (
    ACTOR_ROLES,
    Bundle,
    PlacementGroupRecord,
    PlacementGroupState,
    available_resources_per_node,
    draining_nodes,
    failed_launches,
    matches_selector,
    placement_groups,
    remove_placement_group,
)

JOB = JobID.from_int(1)
ID = PlacementGroupID.of(JOB)
ACTOR = ActorID.of(JOB, ray.TaskID.for_fake_task(JOB), 1)


def row(creator_actor_id: bytes) -> PlacementGroupTableData:
    found = PlacementGroupTableData(
        placement_group_id=ID.binary(),
        name="group",
        state=PlacementGroupTableData.RESCHEDULING,
        strategy=PlacementStrategy.STRICT_PACK,
        placement_group_creation_timestamp_ms=7,
        creator_job_id=JOB.binary(),
        creator_actor_id=creator_actor_id,
        creator_actor_dead=True,
        is_detached=True,
    )
    placed, waiting = found.bundles.add(), found.bundles.add()
    placed.node_id = b"node"
    waiting.unit_resources["CPU"] = 2.0
    waiting.label_selector["pool"] = "in(a, b)"
    return found


def test_a_row_of_a_placement_group_has_its_bundles_and_its_creator() -> None:
    assert PlacementGroupRecord.from_row(row(ACTOR.binary())) == PlacementGroupRecord(
        id=ID.hex(),
        name="group",
        state="RESCHEDULING",
        bundles=(Bundle({}, {}, True), Bundle({"CPU": 2.0}, {"pool": "in(a, b)"}, False)),
        is_strict_pack=True,
        created_ms=7,
        creator_job_id=JOB.hex(),
        creator_actor_id=ACTOR.hex(),
        is_creator_actor_dead=True,
        is_detached=True,
    )


@pytest.mark.parametrize("nil", [ActorID.nil().binary(), b""])
def test_a_row_of_a_driver_has_no_actor(nil: bytes) -> None:
    assert PlacementGroupRecord.from_row(row(nil)).creator_actor_id is None


def test_placement_groups_have_the_states_that_are_known() -> None:
    states = PlacementGroupTableData.PlacementGroupState.keys()
    assert set(states) == set(get_args(PlacementGroupState))


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"pool": "a"}, True),
        ({"pool": "!a"}, False),
        ({"pool": "in(a, b)"}, True),
        ({"pool": "!in(a, b)"}, False),
        ({"pool": "a", "zone": "z"}, False),
    ],
)
def test_labels_match_selectors(selector: dict[str, str], matches: bool) -> None:
    assert matches_selector({"pool": "a"}, selector) is matches


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("TrainController", "ray.train.v2._internal.execution.controller"),
        ("RayTrainWorker", "ray.train.v2._internal.execution.worker_group.worker"),
        ("DatasetManager", "ray.train.v2._internal.data_integration.dataset_manager"),
        ("SplitCoordinator", "ray.data._internal.iterator.stream_split_iterator"),
        ("MapWorker", "ray.data._internal.execution.operators.actor_pool_map_operator"),
    ],
)
def test_actors_of_a_job_are_of_classes_with_known_names(name: str, module: str) -> None:
    assert name in ACTOR_ROLES
    found = vars(import_module(module))
    # Ray Data makes a class for each operator, named "MapWorker(operator)".
    assert name in found or (name == "MapWorker" and "_MapWorker" in found)
    assert len(ACTOR_ROLES) == 5


def test_a_launch_that_failed_has_its_type_and_time() -> None:
    from ray.autoscaler.v2.schema import ClusterStatus, LaunchRequest

    assert {"ray_node_type_name", "failed_ts_s"} <= {field.name for field in fields(LaunchRequest)}
    assert "failed_launches" in {field.name for field in fields(ClusterStatus)}


@pytest.mark.real
def test_a_cluster_tells_what_is_free_and_which_nodes_go(ray_session: str) -> None:
    (node,) = ray.nodes()
    assert set(available_resources_per_node()) == {node["NodeID"]}
    assert draining_nodes() == {}
    assert failed_launches() == []


@pytest.mark.real
def test_a_cluster_lists_placement_groups_and_removes_them_by_id(ray_session: str) -> None:
    group = placement_group([{"CPU": 1000.0}], name="waits", bundle_label_selector=[{"pool": "a"}])
    (found,) = (each for each in placement_groups() if each.id == group.id.hex())
    assert (found.name, found.state, found.creator_actor_id) == ("waits", "PENDING", None)
    assert found.creator_job_id == ray.get_runtime_context().get_job_id()
    assert found.bundles == (Bundle({"CPU": 1000.0}, {"pool": "a"}, False),)
    remove_placement_group(found.id)
    assert placement_group_table(group)["state"] == "REMOVED"
