"""Priorities on a cluster that several jobs share.

1. **The chat service** has the highest priority and keeps its replicas.
2. **Training** uses as many workers as fit, between `workers.min` and `workers.max`. If a chat replica is
   pending, training gives up as many workers as the replica needs, after a checkpoint, but none of `workers.min`; it
   takes them back when the resources are free again.
3. **Ingest, self-instruct and all other jobs** get the resources that are free when they request them. Nothing is given
   up for them, and they give nothing up.

Jobs in different pools do not compete: a job waits for nodes of its own pool only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from longspan._compat.ray_core import PlacementGroupRecord, matches_selector, placement_groups
from longspan._compat.ray_serve import replica_application

PENDING_STATES = ("PENDING", "RESCHEDULING")


@dataclass(frozen=True)
class ResourceRequest:
    """Resources requested on one node.

    Attributes:
        resources: quantity by name.
        selector: Ray's label selector of the node.
    """

    resources: Mapping[str, float]
    selector: Mapping[str, str]

    def may_be_on(self, labels: Mapping[str, str]) -> bool:
        """Return whether a node with these labels matches the selector."""
        return matches_selector(labels, self.selector)


@dataclass(frozen=True)
class PendingReplica:
    """Replica of the chat service that waits for resources.

    Attributes:
        id: of the placement group.
        tenant: the application's name.
        shares: its resource requests; each may be placed on another node.
    """

    id: str
    tenant: str
    shares: tuple[ResourceRequest, ...]


def pending_replicas() -> list[PendingReplica]:
    """Return the pending replicas of Ray Serve, the longest pending first."""
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
