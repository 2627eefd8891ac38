"""Private interfaces of Ray Serve."""

import inspect

from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
from ray.serve._private.common import REPLICA_ID_FULL_ID_STR_PREFIX, DeploymentID, ReplicaID
from ray.serve._private.deployment_state import ActorReplicaWrapper

from longspan._compat.ray_serve import REPLICA_PREFIX, replica_application, serve_details


def test_a_placement_group_tells_the_application_of_its_replica() -> None:
    replica = ReplicaID("x1y2", DeploymentID("ChatServer", app_name="chat"))
    assert replica_application(replica.to_full_id_str()) == "chat"
    assert replica_application("") is None
    assert REPLICA_PREFIX == REPLICA_ID_FULL_ID_STR_PREFIX


def test_the_placement_group_of_a_replica_has_its_actor_s_name() -> None:
    source = inspect.getsource(ActorReplicaWrapper)
    assert "self._actor_name = replica_id.to_full_id_str()" in source


def test_the_dashboard_s_client_tells_what_serve_was_given() -> None:
    client = inspect.signature(ServeSubmissionClient)
    assert next(iter(client.parameters)) == "dashboard_head_address"
    assert list(inspect.signature(ServeSubmissionClient.get_serve_details).parameters) == ["self"]
    assert list(inspect.signature(serve_details).parameters) == ["dashboard"]
