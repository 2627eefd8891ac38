"""How many workers fit beside what others wait for who go first."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from longspan.runtime.capacity import Node, Nodes, fitting, max_workers, whole_groups
from longspan.runtime.pool import LABEL, selector
from longspan.runtime.priorities import PendingReplica, ResourceRequest

WORKER = ResourceRequest({"CPU": 2.0, "GPU": 1.0}, {})


def machines(*gpus: int, pool: str = "training") -> dict[str, Node]:
    """Nodes with so many GPUs free, and CPUs enough."""
    return {
        f"{pool}-{n}": Node({LABEL: pool}, {"CPU": 4.0 * each, "GPU": float(each)})
        for n, each in enumerate(gpus)
    }


def replica(gpus: int, pool: str | None = None) -> PendingReplica:
    """One whose engine takes so many GPUs of one node."""
    return PendingReplica("1", "chat", (ResourceRequest({"GPU": float(gpus)}, selector(pool)),))


@pytest.mark.parametrize(
    ("resources", "each", "workers"),
    [
        ({"CPU": 2.0}, {"CPU": 1.0}, 2),
        ({"CPU": 2.0}, {"CPU": 1.0, "GPU": 1.0}, 0),
        ({"CPU": 16.0, "GPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}, 8),
        ({"CPU": 1.0, "GPU": 1.0}, {"CPU": 0.0, "GPU": 0.1}, 10),
        ({}, {"CPU": 1.0}, 0),
    ],
)
def test_as_many_workers_fit_on_a_node_as_its_scarcest_resource_allows(
    resources: dict[str, float], each: dict[str, float], workers: int
) -> None:
    assert fitting(resources, each) == workers


def test_a_worker_is_on_nodes_of_its_pool_alone() -> None:
    nodes = machines(8, 8) | machines(4, pool="serving")
    assert max_workers(nodes, WORKER) == 20
    assert max_workers(nodes, ResourceRequest(WORKER.resources, selector("training"))) == 16
    assert max_workers(nodes, ResourceRequest(WORKER.resources, selector("other"))) == 0


def test_a_claim_takes_what_costs_the_fewest_workers() -> None:
    assert max_workers(machines(8, 8), WORKER, [replica(4)]) == 12
    assert max_workers(machines(8, 8), WORKER, [replica(8), replica(4)]) == 4
    idle = {"idle": Node({}, {"CPU": 1.0, "GPU": 2.0})}
    assert max_workers(machines(8) | idle, WORKER, [replica(2)]) == 8, "no worker fits there"


def test_a_claim_on_another_pool_takes_nothing() -> None:
    nodes = machines(8) | machines(4, pool="serving")
    training = ResourceRequest(WORKER.resources, selector("training"))
    assert max_workers(nodes, training, [replica(4, "serving")]) == 8
    assert max_workers(nodes, training, [replica(4, "serving"), replica(4, "serving")]) == 8
    assert max_workers(nodes, training, [replica(8)]) == 0, (
        "it may be anywhere, and only there is room"
    )


def test_what_fits_nowhere_takes_nothing() -> None:
    assert max_workers(machines(4, 4), WORKER, [replica(8)]) == 8
    parts = PendingReplica("1", "chat", (ResourceRequest({"GPU": 4.0}, {}),) * 3)
    assert max_workers(machines(4, 4), WORKER, [parts]) == 8


def test_the_least_stay() -> None:
    assert max_workers(machines(4), WORKER, [replica(2)], least=3) == 4
    assert max_workers(machines(4), WORKER, [replica(2), replica(1)], least=3) == 3, (
        "but one that leaves enough"
    )
    assert max_workers(machines(2), WORKER, [replica(1)], least=3) == 1, "they are not there anyway"


@pytest.mark.parametrize(
    ("gpus", "degree", "workers"),
    [((8, 8), 1, 16), ((6, 7), 4, 12), ((2, 1), 4, 0), ((4, 2, 2), 4, 8)],
)
def test_only_whole_groups_of_workers_train(
    gpus: tuple[int, ...], degree: int, workers: int
) -> None:
    assert whole_groups(max_workers(machines(*gpus), WORKER), degree) == workers


@given(
    st.lists(st.integers(0, 4), max_size=4),
    st.lists(st.integers(1, 5), max_size=4),
    st.integers(0, 8),
)
def test_claims_take_no_more_than_they_ask_for(
    gpus: list[int], pending_replicas: list[int], least: int
) -> None:
    nodes: Nodes = machines(*gpus)
    before = max_workers(nodes, WORKER)
    after = max_workers(nodes, WORKER, [replica(each) for each in pending_replicas], least)
    assert min(least, before) <= after <= before or before < least
    assert before - after <= sum(pending_replicas)
    if all(each > max(gpus, default=0) for each in pending_replicas):
        assert after == before
