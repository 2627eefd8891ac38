"""When a group leaves its nodes, and when it grows; what Ray says of the cluster is given here."""

import time
from dataclasses import dataclass, field

import pytest

from longspan.runtime import capacity
from longspan.runtime.capacity import Node
from longspan.runtime.priorities import PendingReplica, ResourceRequest
from longspan.train.elastic import cluster_monitor
from longspan.train.elastic.cluster_monitor import ClusterMonitor, Group
from longspan.train.host import RescaleRequest

WORKER = ResourceRequest({"CPU": 1.0}, {})


@dataclass
class Cluster:
    """Nodes, their free CPUs, those that are about to go, and what replicas wait for."""

    free: dict[str, int]
    going: dict[str, int] = field(default_factory=dict)
    pending_replicas: list[PendingReplica] = field(default_factory=list)

    def staying(self) -> dict[str, Node]:
        return {node: Node({}, {"CPU": 9.0}) for node in self.free if node not in self.going}

    def available(self) -> dict[str, dict[str, float]]:
        return {node: {"CPU": float(free)} for node, free in self.free.items()}

    def wait(self, *cpus: float) -> None:
        """Replicas of so many CPUs wait."""
        shares = [ResourceRequest({"CPU": each}, {}) for each in cpus]
        self.pending_replicas = [
            PendingReplica(str(n), "chat", (share,)) for n, share in enumerate(shares)
        ]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    there = Cluster({"a": 0, "b": 0})
    monkeypatch.setattr(cluster_monitor, "nodes", there.staying)
    monkeypatch.setattr(cluster_monitor, "answering_nodes", there.staying)
    monkeypatch.setattr(cluster_monitor, "draining_nodes", lambda: there.going)
    monkeypatch.setattr(cluster_monitor, "pending_replicas", lambda: there.pending_replicas)
    monkeypatch.setattr(capacity, "available_resources_per_node", there.available)
    monkeypatch.setattr(ClusterMonitor, "_watch", lambda self: None)
    return there


def looks(
    least: int,
    most: int,
    nodes: tuple[str, ...] = ("a", "b"),
    yield_after_s: float | None = 0.0,
    degree: int = 1,
) -> ClusterMonitor:
    group = Group(nodes, least, most, WORKER, 0.0, yield_after_s, degree)
    return ClusterMonitor(group, lambda line: None)


def leaving(notice: RescaleRequest | None) -> bool | None:
    return notice.leave if notice else None


def test_a_node_that_goes_is_left_while_enough_workers_stay(there: Cluster) -> None:
    group = looks(1, 2)
    assert group._look() is None
    there.going = {"b": 0}
    assert leaving(group._look()) is True
    assert leaving(group._look()) is True, "until it is done: the checkpoint may have failed"


def test_with_too_few_left_it_stays_until_another_node_comes(there: Cluster) -> None:
    group = looks(2, 2)
    there.going = {"b": int((time.time() + 120) * 1000)}
    assert leaving(group._look()) is False
    assert group._look() is None
    there.going = {"b": int((time.time() + 10) * 1000)}
    assert leaving(group._look()) is False, "one more checkpoint before the end"
    assert group._look() is None
    there.free["c"] = 1
    assert leaving(group._look()) is True


def test_room_that_others_take_is_no_room(there: Cluster) -> None:
    there.free["c"] = 0
    there.going = {"b": 0}
    assert leaving(looks(2, 2)._look()) is False


def test_it_grows_up_to_its_most(there: Cluster) -> None:
    assert looks(1, 8)._look() is None
    there.free["c"] = 9
    notice = looks(1, 8)._look()
    assert notice == RescaleRequest("there is room for 8 workers", leave=True)
    assert looks(1, 2)._look() is None


def test_it_grows_by_whole_groups_of_workers_that_share_rows(there: Cluster) -> None:
    there.free["c"] = 1
    assert looks(2, 8, degree=2)._look() is None
    there.free["c"] = 3
    assert looks(2, 8, degree=2)._look() == RescaleRequest(
        "there is room for 4 workers", leave=True
    )


def test_a_node_that_goes_takes_the_groups_of_its_workers_along(there: Cluster) -> None:
    there.going = {"b": 0}
    assert leaving(looks(2, 4, ("a", "a", "a", "b"), degree=2)._look()) is True
    assert leaving(looks(4, 4, ("a", "a", "a", "b"), degree=2)._look()) is False


def test_workers_are_given_up_by_whole_groups(there: Cluster) -> None:
    there.wait(1)
    notice = looks(2, 4, ("a", "a", "b", "b"), degree=2)._look()
    assert notice == RescaleRequest("chat waits for room: 2 of 4 workers stay", leave=True)


def test_workers_are_given_up_for_replicas_that_wait_for_room(there: Cluster) -> None:
    there.wait(1)
    group = looks(1, 2)
    assert group._look() == RescaleRequest("chat waits for room: 1 of 2 workers stay", leave=True)
    assert leaving(group._look()) is True, "until it is done: the checkpoint may have failed"


def test_none_of_the_least_are(there: Cluster) -> None:
    there.wait(1)
    assert looks(2, 2)._look() is None
    there.wait(1, 1, 1)
    notice = looks(1, 3, ("a", "b", "b"))._look()
    assert notice == RescaleRequest("chat waits for room: 1 of 3 workers stay", leave=True)


def test_none_are_where_that_is_of_no_use(there: Cluster) -> None:
    there.wait(4)
    assert looks(1, 2)._look() is None, "no node has as much"
    there.wait(1)
    there.free["c"] = 1
    assert looks(1, 2)._look() is None, "there is room elsewhere"


def test_room_that_a_replica_waits_for_is_no_room_to_grow(there: Cluster) -> None:
    there.free["c"] = 1
    there.wait(1)
    assert looks(1, 8)._look() is None
    there.pending_replicas = []
    assert looks(1, 8)._look() == RescaleRequest("there is room for 3 workers", leave=True)


def test_replicas_wait_for_a_while_before(there: Cluster) -> None:
    there.wait(1)
    group = looks(1, 2, yield_after_s=600.0)
    assert group._look() is None
    group._waiting = {replica: since - 600.0 for replica, since in group._waiting.items()}
    assert leaving(group._look()) is True
    there.pending_replicas = []
    assert group._look() is None
    there.wait(1)
    assert group._look() is None, "another one, which has not waited yet"


def test_where_training_yields_to_nobody_it_stays_and_grows(there: Cluster) -> None:
    there.wait(1)
    assert looks(1, 2, yield_after_s=None)._look() is None
    there.free["c"] = 1
    assert leaving(looks(1, 8, yield_after_s=None)._look()) is True


def test_a_node_that_is_gone_is_nobody_s_claim(there: Cluster) -> None:
    there.wait(9)
    del there.free["b"]
    assert looks(1, 2)._look() is None
