"""What training learns of replicas that wait for room."""

import pytest
from ray import serve

from longspan.runtime.pool import LABEL
from longspan.runtime.priorities import ResourceRequest, pending_replicas
from tests.serve.service import until

pytestmark = pytest.mark.real


class Replica:
    """One that does nothing."""


def test_a_replica_that_waits_for_room_is_a_claim(ray_session: str) -> None:
    assert pending_replicas() == []
    serve.start(proxy_location="Disabled")
    replica = serve.deployment(Replica).options(
        ray_actor_options={"num_cpus": 0},
        placement_group_bundles=[{"CPU": 60, "GPU": 1}, {"CPU": 40}],
        placement_group_bundle_label_selector=[{LABEL: "serving"}] * 2,
        placement_group_strategy="STRICT_PACK",
    )
    target = serve.RunTarget(target=replica.bind(), name="large", route_prefix=None)
    serve.run_many([target], wait_for_applications_running=False)
    try:
        until(pending_replicas)
        (replica,) = pending_replicas()
        assert replica.tenant == "large"
        assert replica.shares == (ResourceRequest({"CPU": 100.0, "GPU": 1.0}, {LABEL: "serving"}),)
        assert replica.shares[0].may_be_on({LABEL: "serving"})
        assert not replica.shares[0].may_be_on({LABEL: "training"})
    finally:
        serve.delete("large")
    until(lambda: not pending_replicas())
