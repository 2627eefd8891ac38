"""What is asked of Ray while workers are missing."""

import pytest

from longspan.runtime.priorities import ResourceRequest
from longspan.train.elastic import on_demand_fallback
from longspan.train.elastic.on_demand_fallback import Fallback
from tests.nodes import until

pytestmark = pytest.mark.real


def test_machines_are_asked_for_as_long_as_workers_are_missing(
    ray_session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    types: list[str] = []
    monkeypatch.setattr(on_demand_fallback, "refused", lambda pool, log: types)
    monkeypatch.setattr(on_demand_fallback, "LOOK_SECONDS", 0.0)
    asking = Fallback(
        ResourceRequest({"CPU": 1.0}, {"longspan.io/pool": "training"}), 0.0, said.append
    )
    asking.look(3)
    assert said == [], "nothing is refused: they may still come"
    types.append("training")
    asking.look(3)
    asking.look(3)
    assert len(said) == 1
    for missing in (3, 5, 2, 0, 1):
        asking.look(missing)
        until(lambda missing=missing: waiting() == missing, seconds=30)
    asking.look(0)
    until(lambda: waiting() == 0, seconds=30)


def test_nothing_is_asked_for_where_that_is_not_wanted(ray_session: str) -> None:
    asking = Fallback(ResourceRequest({"CPU": 1.0}, {}), None, print)
    asking.look(3)
    assert waiting() == 0


def waiting() -> int:
    """Tasks that wait for a machine on demand."""
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_resource_state

    state = get_cluster_resource_state(ray._private.worker.global_worker.gcs_client)
    return sum(each.count for each in state.pending_resource_requests)
