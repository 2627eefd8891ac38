"""Who goes first on a cluster that several share.

1. **The chat service**: people wait for it. What it has it keeps.
2. **Training**: as many workers as there is room for, between `workers.min` and `workers.max`. Where a replica
   of the chat service waits for room, it gives up as many workers as that takes, after a checkpoint, but
   none of the least; when the room is free again it takes it back.
3. **Ingest, self-instruct and all else**: they get from Ray what is free when they ask. Training gives
   nothing up for them, and they nothing for anybody.

Pools keep tenants apart altogether: who asks for another pool's nodes waits for those alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import ray
from ray._raylet import node_labels_match_selector
from ray.core.generated.common_pb2 import PlacementStrategy
from ray.core.generated.gcs_pb2 import PlacementGroupTableData

FIRST = "SERVE_REPLICA::"
"""How Ray Serve names the placement group of a replica; its application's name follows."""
WAITING = (PlacementGroupTableData.PENDING, PlacementGroupTableData.RESCHEDULING)


@dataclass(frozen=True)
class Share:
    """What has to be on one node.

    Attributes:
        resources: so much of each.
        selector: of the labels that the node has to have, as Ray writes it.
    """

    resources: Mapping[str, float]
    selector: Mapping[str, str]

    def may_be_on(self, labels: Mapping[str, str]) -> bool:
        """Whether a node of these labels is one for it."""
        return node_labels_match_selector(dict(labels), dict(self.selector))


@dataclass(frozen=True)
class Claim:
    """Room that somebody waits for who goes first.

    Attributes:
        id: of the placement group.
        tenant: the application's name.
        shares: all of it; each may be on another node.
    """

    id: str
    tenant: str
    shares: tuple[Share, ...]


def claims() -> list[Claim]:
    """What replicas of Ray Serve wait for, those first that have waited longest."""
    # Ray's own view of the table leaves out what labels are asked for.
    accessor = ray._private.state.state._connect_and_get_accessor()
    table = [
        PlacementGroupTableData.FromString(row) for row in accessor.get_placement_group_table()
    ]
    waiting = [row for row in table if row.state in WAITING and row.name.startswith(FIRST)]
    waiting.sort(key=lambda row: (row.placement_group_creation_timestamp_ms, row.name))
    return [
        Claim(
            row.placement_group_id.hex(), row.name[len(FIRST) :].split("#")[0], tuple(_shares(row))
        )
        for row in waiting
    ]


def _shares(row: PlacementGroupTableData) -> Iterator[Share]:
    # Of a group that has lost a node, those bundles wait that are on none.
    bundles = [bundle for bundle in row.bundles if not bundle.node_id]
    if row.strategy != PlacementStrategy.STRICT_PACK:
        yield from (Share(dict(each.unit_resources), dict(each.label_selector)) for each in bundles)
        return
    resources: dict[str, float] = {}
    selector: dict[str, str] = {}
    for bundle in bundles:
        selector |= bundle.label_selector
        for name, amount in bundle.unit_resources.items():
            resources[name] = resources.get(name, 0.0) + amount
    yield Share(resources, selector)
