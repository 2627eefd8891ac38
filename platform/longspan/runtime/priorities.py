"""Priorities on a cluster that several jobs share.

1. **The chat service**: people wait for it. It keeps what it has.
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

from longspan._compat.ray_core import PlacementGroupRecord, matches_selector, placement_groups
from longspan._compat.ray_serve import replica_application

PENDING_STATES = ("PENDING", "RESCHEDULING")


@dataclass(frozen=True)
class ResourceRequest:
    """What has to be on one node.

    Attributes:
        resources: so much of each.
        selector: of the labels that the node has to have, as Ray writes it.
    """

    resources: Mapping[str, float]
    selector: Mapping[str, str]

    def may_be_on(self, labels: Mapping[str, str]) -> bool:
        """Whether a node of these labels is one for it."""
        return matches_selector(labels, self.selector)


@dataclass(frozen=True)
class PendingReplica:
    """Room that somebody waits for who goes first.

    Attributes:
        id: of the placement group.
        tenant: the application's name.
        shares: all of it; each may be on another node.
    """

    id: str
    tenant: str
    shares: tuple[ResourceRequest, ...]


def pending_replicas() -> list[PendingReplica]:
    """What replicas of Ray Serve wait for, those first that have waited longest."""
    waiting = [group for group in placement_groups() if group.state in PENDING_STATES]
    waiting.sort(key=lambda group: (group.created_ms, group.name))
    return [
        PendingReplica(group.id, application, tuple(_shares(group)))
        for group in waiting
        if (application := replica_application(group.name)) is not None
    ]


def _shares(group: PlacementGroupRecord) -> Iterator[ResourceRequest]:
    # Of a group that has lost a node, those bundles wait that are on none.
    bundles = [bundle for bundle in group.bundles if not bundle.is_placed]
    if not group.is_strict_pack:
        yield from (ResourceRequest(each.resources, each.selector) for each in bundles)
        return
    resources: dict[str, float] = {}
    selector: dict[str, str] = {}
    for bundle in bundles:
        selector |= bundle.selector
        for name, amount in bundle.resources.items():
            resources[name] = resources.get(name, 0.0) + amount
    yield ResourceRequest(resources, selector)
