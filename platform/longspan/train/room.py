"""How many workers a cluster has room for, and which of its nodes are about to go."""

from __future__ import annotations

from collections.abc import Mapping

import ray

Resources = Mapping[str, float]


def draining_nodes() -> dict[str, int]:
    """Nodes that are about to go: when, in milliseconds since 1970, or 0 where that is not known."""
    return ray._private.state.state.get_draining_nodes()


def room(each: Resources, *, total: bool = False) -> int:
    """How many workers fit on the nodes that stay, beside all that runs there, or in all their room.

    Args:
        each: what a worker takes.
        total: count what is taken as well.
    """
    staying = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    if not total:
        free = ray._private.state.available_resources_per_node()
        staying = {node: free.get(node, {}) for node in staying}
    for node in draining_nodes():
        staying.pop(node, None)
    return sum(fitting(resources, each) for resources in staying.values())


def fitting(resources: Resources, each: Resources) -> int:
    """How many times ``each`` fits into the resources of one node."""
    # Ray counts in ten-thousandths.
    counts = [int(resources.get(name, 0.0) / share + 1e-4) for name, share in each.items() if share]
    return min(counts, default=0)
