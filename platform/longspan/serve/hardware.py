"""What a cluster has for engines to run on."""

from __future__ import annotations

from dataclasses import dataclass

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from longspan.recipe.device import Device, this_machines_device


@dataclass(frozen=True)
class Hardware:
    """The kind of node that engines run on.

    Attributes:
        device: one GPU of it, or its CPU.
        gpus: how many GPUs it has; 0 is a CPU node.
    """

    device: Device
    gpus: int


def look_around() -> Hardware:
    """The node with most GPUs, or this machine where the cluster has none. Ray is connected.

    GPUs are asked for by name without being taken: all of them may be at work for the version that
    serves at the moment.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    best = max(nodes, key=lambda node: node["Resources"].get("GPU", 0))
    gpus = int(best["Resources"].get("GPU", 0))
    if not gpus:
        return Hardware(this_machines_device(0), 0)
    there = NodeAffinitySchedulingStrategy(best["NodeID"], soft=False)
    look = ray.remote(num_cpus=0)(this_machines_device).options(scheduling_strategy=there)
    return Hardware(ray.get(look.remote()), gpus)
