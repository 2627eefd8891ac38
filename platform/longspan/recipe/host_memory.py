"""Host memory of a node: what all workers on it offload together, against what the node has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longspan.errors import UserError
from longspan.plan.memory import USABLE

if TYPE_CHECKING:
    from longspan.plan.device import Device
    from longspan.plan.memory import WorkerMemory
    from longspan.plan.savers import Savers
    from longspan.recipe.schema import Recipe

_GIBI = 2**30


def workers_of_node(recipe: Recipe, device: Device) -> int:
    """Most workers of a run that one node has devices for."""
    gpus = recipe.workers.gpus_per_worker or 1
    return max(1, min(recipe.workers.max, int(device.per_node / gpus)))


def host_fits(memory: WorkerMemory, recipe: Recipe, device: Device) -> bool:
    """Whether what the workers of a node offload fits into its host memory; true where that is unknown.

    A share is left to the system, the data pipeline and the workers themselves.
    """
    if device.kind == "cpu" or device.node_memory is None:
        return True
    return memory.host.total * workers_of_node(recipe, device) <= USABLE * device.node_memory


def require_host_memory(
    memory: WorkerMemory, savers: Savers, recipe: Recipe, device: Device
) -> None:
    """Refuse offloads that the recipe asks for, where a node has too little host memory.

    Raises:
        UserError: it has.
    """
    if host_fits(memory, recipe, device):
        return
    assert device.node_memory is not None
    workers = workers_of_node(recipe, device)
    offloads = [name for name in savers.used if name.startswith("offload_")]
    raise UserError(
        f"training.{offloads[0]}: the {workers} workers of a node need {memory.host.total * workers / _GIBI:.1f} GiB "
        f"of host memory for {', '.join(f'training.{name}' for name in offloads)}, more than {USABLE:.0%} of the "
        f"{device.node_memory / _GIBI:.1f} GiB that it has; leave them out, use shorter rows, or nodes with more memory"
    )
