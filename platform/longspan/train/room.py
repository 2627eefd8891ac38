"""How many workers a cluster has room for, and which of its nodes are about to go."""

from __future__ import annotations

from collections.abc import Mapping

import ray
from ray.util import placement_group_table
from ray.util.placement_group import PlacementGroup

Resources = Mapping[str, float]


def draining_nodes() -> dict[str, int]:
    """Nodes that are about to go: when, in milliseconds since 1970, or 0 where that is not known."""
    return ray._private.state.state.get_draining_nodes()


def room(each: Resources, ended: PlacementGroup | None = None) -> int:
    """How many workers fit on the nodes that stay, beside all that runs there.

    Args:
        each: what a worker takes.
        ended: what a group of workers holds that has ended; its places count as free.
    """
    staying = _staying()
    free = ray._private.state.available_resources_per_node()
    places = placement_group_table(ended) if ended else {}
    held = [] if places.get("state") == "REMOVED" else places.get("bundles_to_node_id", {}).values()
    return sum(fitting(free.get(node, {}), each) for node in staying) + sum(
        node in staying for node in held
    )


def whole_room(each: Resources) -> int:
    """How many workers fit on the nodes that stay, were nothing else there."""
    return sum(fitting(resources, each) for resources in _staying().values())


def fitting(resources: Resources, each: Resources) -> int:
    """How many times ``each`` fits into the resources of one node."""
    # Ray counts in ten-thousandths.
    counts = [int(resources.get(name, 0.0) / share + 1e-4) for name, share in each.items() if share]
    return min(counts, default=0)


def _staying() -> dict[str, Resources]:
    """All resources of each node that is not about to go."""
    going = draining_nodes()
    return {
        node["NodeID"]: node["Resources"]
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in going
    }
