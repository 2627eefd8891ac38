"""One of two ranks that tell each other things: collectives_worker.py RANK PORT; prints a JSON object."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psutil
import torch.distributed as dist

from longspan.errors import Unreachable, UserError
from longspan.train.collectives import all_gather_objects, broadcast_object
from longspan.train.elastic.rendezvous import LOOPBACK, open_store, use_interface_of


class RunsCode:
    """A pickle of it ends whoever reads it."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return os._exit, (66,)


def raising(error: Exception) -> Callable[[], object]:
    def find() -> object:
        raise error

    return find


def outcome(action: Callable[[], object]) -> object:
    try:
        return action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main(rank: int, port: int) -> dict[str, object]:
    use_interface_of(LOOPBACK)
    store = open_store(LOOPBACK, port, rank, 2, timedelta(seconds=60))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    value = {"text": "é", "numbers": [1, 0.1, None, True], "losses": (2.5, 1e-17)}
    results: dict[str, object] = {
        "broadcast": broadcast_object(lambda: value),
        "gathered": all_gather_objects({"rank": rank, "text": "x" * (rank * 1000)}),
        "mistake": outcome(lambda: broadcast_object(raising(UserError("name: taken")))),
        "outage": outcome(lambda: broadcast_object(raising(Unreachable("no answer")))),
        "listening": sorted(
            connection.laddr.ip
            for connection in psutil.Process().net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        ),
    }
    # Rank 0 as somebody who got into the group's traffic: torch's own object collectives have the same
    # two messages, a size and that many bytes.
    if rank == 0:
        dist.broadcast_object_list([RunsCode()], src=0)
    else:
        results["pickle"] = outcome(lambda: broadcast_object(lambda: None))
    dist.barrier()
    return results


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))), flush=True)
    os._exit(0)  # See `longspan.train.standalone`.
