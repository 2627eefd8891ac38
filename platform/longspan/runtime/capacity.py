"""Capacity of the cluster: how many workers fit, and which nodes are draining."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.util import placement_group_table
from ray.util.placement_group import PlacementGroup

from longspan._compat.ray_core import available_resources_per_node, draining_nodes
from longspan.runtime.priorities import PendingReplica, ResourceRequest

Resources = Mapping[str, float]

ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class Node:
    """A node, by its labels and what there is of each resource: all of it, or what is free."""

    labels: Mapping[str, str]
    resources: Resources


Nodes = Mapping[str, Node]
"""By their ids."""


def nodes() -> dict[str, Node]:
    """Each node that is not about to go, with all of its resources."""
    return {node["NodeID"]: Node(node["Labels"], node["Resources"]) for node in _staying()}


def answering_nodes() -> dict[str, Node]:
    """The same, without nodes that do not answer: Ray takes a while to find out that one is gone."""
    found = _staying()
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(_answers, found))
    return {
        node["NodeID"]: Node(node["Labels"], node["Resources"])
        for node, answer in zip(found, answers, strict=True)
        if answer
    }


def available_nodes(
    nodes: Nodes, worker: ResourceRequest, ours: Iterable[str] = ()
) -> dict[str, Node]:
    """Nodes with what is free on them.

    Args:
        nodes: with all that they have.
        worker: what one of our workers takes.
        ours: where they are, one after another: what they take counts as free.
    """
    available = available_resources_per_node()
    workers = Counter(ours)
    return {
        node: replace(known, resources=_plus(available.get(node, {}), worker, workers[node]))
        for node, known in nodes.items()
    }


def worker_nodes(group: PlacementGroup | None) -> list[str]:
    """Return the node of each worker of a placement group; empty if the group was removed."""
    found = placement_group_table(group) if group else {}
    if found.get("state") == "REMOVED":
        return []
    return list(found.get("bundles_to_node_id", {}).values())


def max_workers(
    nodes: Nodes,
    worker: ResourceRequest,
    pending_replicas: Sequence[PendingReplica] = (),
    least: int = 0,
) -> int:
    """Return how many workers fit on nodes after pending replicas of higher priority are placed.

    A replica is skipped if it fits nowhere, or if it would leave fewer workers than ``least``.
    """
    workers = _workers(nodes, worker)
    for replica in pending_replicas:
        left = _without(nodes, replica, worker)
        if left is None or _workers(left, worker) < least <= workers:
            continue
        nodes, workers = left, _workers(left, worker)
    return workers


def whole_groups(workers: int, degree: int) -> int:
    """Return how many of some workers can train, in groups of ``degree`` that share rows."""
    return workers // degree * degree


def fitting(resources: Resources, each: Resources) -> int:
    """How many times ``each`` fits into the resources of one node."""
    # Ray counts in ten-thousandths.
    counts = [int(resources.get(name, 0.0) / share + 1e-4) for name, share in each.items() if share]
    return min(counts, default=0)


def _workers(nodes: Nodes, worker: ResourceRequest) -> int:
    return sum(_fitting(node, worker) for node in nodes.values())


def _fitting(node: Node, share: ResourceRequest) -> int:
    return fitting(node.resources, share.resources) if share.may_be_on(node.labels) else 0


def _without(nodes: Nodes, replica: PendingReplica, worker: ResourceRequest) -> Nodes | None:
    """What is left of nodes once a claim has what it waits for, where that costs the fewest workers."""
    for share in replica.shares:
        left = {
            name: replace(node, resources=_plus(node.resources, share, -1))
            for name, node in nodes.items()
            if _fitting(node, share)
        }
        if not left:
            return None
        cost = {name: _fitting(nodes[name], worker) - _fitting(left[name], worker) for name in left}
        chosen = min(left, key=cost.__getitem__)
        nodes = {**nodes, chosen: left[chosen]}
    return nodes


def _plus(resources: Resources, share: ResourceRequest, times: int) -> Resources:
    more = {name: times * amount for name, amount in share.resources.items()}
    names = resources.keys() | more.keys()
    return {name: resources.get(name, 0.0) + more.get(name, 0.0) for name in names}


def _staying() -> list[dict[str, Any]]:
    going = draining_nodes()
    return [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in going]


def _answers(node: Mapping[str, Any]) -> bool:
    try:
        address = (node["NodeManagerAddress"], node["NodeManagerPort"])
        with socket.create_connection(address, timeout=ANSWER_SECONDS):
            return True
    except OSError:
        return False
