"""Placement groups that a dead controller has left behind."""

from dataclasses import replace
from typing import Any

import pytest

from longspan._compat.ray_core import PlacementGroupRecord
from longspan.train.elastic.orphaned_groups import orphaned

OF_DEAD_ACTOR = PlacementGroupRecord(
    id="0a",
    name="",
    state="CREATED",
    bundles=(),
    is_strict_pack=False,
    created_ms=0,
    creator_job_id="01",
    creator_actor_id="0b",
    is_creator_actor_dead=True,
    is_detached=False,
)


def test_a_group_of_a_dead_controller_is_one() -> None:
    other = replace(OF_DEAD_ACTOR, id="0c", is_creator_actor_dead=False)
    assert orphaned([OF_DEAD_ACTOR, other], "01") == ["0a"]


@pytest.mark.parametrize(
    "change",
    [
        {"is_creator_actor_dead": False},
        {"creator_job_id": "02"},
        {"creator_actor_id": None},
        {"is_detached": True},
        {"state": "REMOVED"},
    ],
)
def test_others_are_left_alone(change: dict[str, Any]) -> None:
    assert orphaned([replace(OF_DEAD_ACTOR, **change)], "01") == []
