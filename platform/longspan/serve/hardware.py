"""What a cluster has for engines to run on."""

from __future__ import annotations

from dataclasses import dataclass

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from longspan.errors import UserError
from longspan.plan.device import Device, this_machines_device
from longspan.runtime.nodes import gpus_of, machines, none_up
from longspan.runtime.pool import LABEL


@dataclass(frozen=True)
class Hardware:
    """The kind of node that engines run on.

    Attributes:
        device: one GPU of it, or its CPU.
        gpus: how many GPUs it has; 0 is a CPU node.
    """

    device: Device
    gpus: int


def probe_hardware(pool: str | None) -> Hardware:
    """The pool's node with most GPUs, or the cluster's; this machine where that has none. Ray is connected.

    GPUs are asked for by name without being taken: all of them may be at work for the version that
    serves at the moment.

    Raises:
        UserError: the pool has no machine yet.
    """
    nodes = machines(pool)
    if not nodes:
        raise UserError(
            f"pool: {none_up(pool)} to plan for; `deploy` has Ray's autoscaler start one, "
            f"or start it yourself: ray start --labels={LABEL}={pool} ..."
        )
    best = max(nodes, key=gpus_of)
    gpus = gpus_of(best)
    if not (gpus or pool):
        return Hardware(this_machines_device(0), 0)
    there = NodeAffinitySchedulingStrategy(best["NodeID"], soft=False)
    look = ray.remote(num_cpus=0)(this_machines_device).options(scheduling_strategy=there)
    return Hardware(ray.get(look.remote(None if gpus else 0)), gpus)
