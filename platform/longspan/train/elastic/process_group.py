"""The workers' process group under Ray Train, with listeners on known addresses.

Ray Train's own setup has rank 0 start torch's TCPStore, which then listens on every address of the
machine and asks nobody for a secret. Here it is bound to one address: loopback where all workers are on
one node, else the address by which Ray knows rank 0's node. Gloo, and NCCL on one node, are bound likewise.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import ray.train
import ray.train.torch
import torch.distributed as dist
from ray.train.backend import Backend
from ray.train.torch import TorchConfig
from ray.util import get_node_ip_address

from longspan.train.elastic.rendezvous import (
    LOOPBACK,
    free_port,
    group_address,
    open_store,
    use_interface_of,
)


class BoundTorchConfig(TorchConfig):
    """Ray Train's settings of a torch process group, whose store listens on one address only."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend that sets up the process group."""
        return _BoundTorchBackend


class _BoundTorchBackend(Backend):
    """Sets the group up; ending it is Ray Train's own business."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Connect all workers of a new group."""
        nodes = worker_group.execute(get_node_ip_address)
        address = group_address(nodes)
        port = worker_group.execute_single(0, free_port, address)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank, _connect, backend_config, address, port, node
                )
                for rank, node in enumerate(nodes)
            ]
        )

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """Disconnect them."""
        TorchConfig().backend_cls().on_shutdown(worker_group, backend_config)


def _connect(config: TorchConfig, address: str, port: int, node: str) -> None:
    """Join the group; runs in every worker."""
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    # What DeepSpeed, transformers and torch's own launcher expect to find.
    os.environ.update(
        MASTER_ADDR=address,
        MASTER_PORT=str(port),
        RANK=str(rank),
        WORLD_SIZE=str(world_size),
        LOCAL_RANK=str(context.get_local_rank()),
        LOCAL_WORLD_SIZE=str(context.get_local_world_size()),
        NODE_RANK=str(context.get_node_rank()),
        ACCELERATE_TORCH_DEVICE=str(ray.train.torch.get_device()),
    )
    use_interface_of(LOOPBACK if address == LOOPBACK else node)
    timeout = timedelta(seconds=config.timeout_s)
    dist.init_process_group(
        config.backend,
        store=open_store(address, port, rank, world_size, timeout),
        rank=rank,
        world_size=world_size,
        timeout=timeout,
    )
