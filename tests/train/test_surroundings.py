"""When a group leaves its nodes, and when it grows; what Ray says of the cluster is given here."""

import time
from dataclasses import dataclass, field

import pytest

from longspan.train import surroundings
from longspan.train.host import Notice
from longspan.train.surroundings import Group, Surroundings


@dataclass
class Nodes:
    """Nodes, their free room, and those that are about to go."""

    free: dict[str, int]
    going: dict[str, int] = field(default_factory=dict)

    def staying(self) -> dict[str, dict[str, float]]:
        return {node: {} for node in self.free if node not in self.going}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    there = Nodes({"a": 0, "b": 0})
    monkeypatch.setattr(surroundings, "nodes", there.staying)
    monkeypatch.setattr(surroundings, "answering_nodes", there.staying)
    monkeypatch.setattr(surroundings, "draining_nodes", lambda: there.going)
    monkeypatch.setattr(surroundings, "room", lambda _, nodes: sum(there.free[n] for n in nodes))
    monkeypatch.setattr(Surroundings, "_watch", lambda self: None)
    return there


def looks(least: int, most: int, nodes: tuple[str, ...] = ("a", "b")) -> Surroundings:
    group = Group(nodes, least, most, {"CPU": 1.0}, grow_after=0.0)
    return Surroundings(group, lambda line: None)


def leaving(notice: Notice | None) -> bool | None:
    return notice.leave if notice else None


def test_a_node_that_goes_is_left_while_enough_workers_stay(there: Nodes) -> None:
    group = looks(1, 2)
    assert group._look() is None
    there.going = {"b": 0}
    assert leaving(group._look()) is True
    assert leaving(group._look()) is True, "until it is done: the checkpoint may have failed"


def test_with_too_few_left_it_stays_until_another_node_comes(there: Nodes) -> None:
    group = looks(2, 2)
    there.going = {"b": int((time.time() + 120) * 1000)}
    assert leaving(group._look()) is False
    assert group._look() is None
    there.going = {"b": int((time.time() + 10) * 1000)}
    assert leaving(group._look()) is False, "one more checkpoint before the end"
    assert group._look() is None
    there.free["c"] = 1
    assert leaving(group._look()) is True


def test_room_that_others_take_is_no_room(there: Nodes) -> None:
    there.free["c"] = 0
    there.going = {"b": 0}
    assert leaving(looks(2, 2)._look()) is False


def test_it_grows_up_to_its_most(there: Nodes) -> None:
    assert looks(1, 8)._look() is None
    there.free["c"] = 9
    notice = looks(1, 8)._look()
    assert notice == Notice("there is room for 8 workers", leave=True)
    assert looks(1, 2)._look() is None
