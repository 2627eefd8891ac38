"""On which address a process group's processes listen: one of the machine's, never all of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from datetime import timedelta

import psutil
import torch.distributed as dist

LOOPBACK = "127.0.0.1"


def group_address(nodes: Sequence[str]) -> str:
    """Return the address of a group's store, from the addresses of its workers' nodes by rank."""
    return LOOPBACK if len(set(nodes)) == 1 else nodes[0]


def free_port(address: str) -> int:
    """Return a TCP port that is free on an address of this machine."""
    with _bound(address, 0) as probe:
        return probe.getsockname()[1]


def open_store(
    address: str, port: int, rank: int, world_size: int, timeout: timedelta
) -> dist.TCPStore:
    """Return the group's store: rank 0 serves it on ``address`` and no other, all connect to it there."""
    descriptor = None
    if rank == 0:
        listener = _bound(address, port)
        listener.listen(socket.SOMAXCONN)
        descriptor = listener.detach()  # The store closes it.
    return dist.TCPStore(
        address,
        port,
        world_size,
        is_master=rank == 0,
        timeout=timeout,
        master_listen_fd=descriptor,
    )


def use_interface_of(address: str) -> None:
    """Have Gloo, and NCCL on loopback, listen on the interface with this address, unless the user names one."""
    interface = interface_of(address)
    if interface is None:
        return
    os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    if address == LOOPBACK:
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)


def interface_of(address: str) -> str | None:
    """Return the name of this machine's network interface with an address; None if it has none."""
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address.partition("%")[0] == address for entry in entries):
            return name
    return None


def _bound(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno,
            f"the workers' store cannot listen on {address}:{port} ({error.strerror}): it is the address by which "
            "Ray knows this node; start Ray with the address of one of its interfaces (--node-ip-address)",
        ) from error
    return listener
