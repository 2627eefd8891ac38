"""How many workers a cluster has room for, and which of its nodes are about to go."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray.util import placement_group_table
from ray.util.placement_group import PlacementGroup

Resources = Mapping[str, float]

ANSWER_SECONDS = 2.0


def draining_nodes() -> dict[str, int]:
    """Nodes that are about to go: when, in milliseconds since 1970, or 0 where that is not known."""
    return ray._private.state.state.get_draining_nodes()


def nodes() -> dict[str, Resources]:
    """All resources of each node that is not about to go."""
    return {node["NodeID"]: node["Resources"] for node in _staying()}


def answering_nodes() -> dict[str, Resources]:
    """The same, without nodes that do not answer: Ray takes a while to find out that one is gone."""
    found = _staying()
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(_answers, found))
    return {
        node["NodeID"]: node["Resources"]
        for node, answer in zip(found, answers, strict=True)
        if answer
    }


def room(
    each: Resources, nodes: Mapping[str, Resources], ended: PlacementGroup | None = None
) -> int:
    """How many workers fit on nodes beside all that runs there.

    Args:
        each: what a worker takes.
        nodes: where.
        ended: what a group of workers holds that has ended; its places count as free.
    """
    free = ray._private.state.available_resources_per_node()
    places = placement_group_table(ended) if ended else {}
    held = [] if places.get("state") == "REMOVED" else places.get("bundles_to_node_id", {}).values()
    return sum(fitting(free.get(node, {}), each) for node in nodes) + sum(
        node in nodes for node in held
    )


def whole_room(each: Resources, nodes: Mapping[str, Resources]) -> int:
    """How many workers fit on nodes, were nothing else there."""
    return sum(fitting(resources, each) for resources in nodes.values())


def fitting(resources: Resources, each: Resources) -> int:
    """How many times ``each`` fits into the resources of one node."""
    # Ray counts in ten-thousandths.
    counts = [int(resources.get(name, 0.0) / share + 1e-4) for name, share in each.items() if share]
    return min(counts, default=0)


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
