"""Machines that are not up yet: Ray starts them for the tasks that ask, and a driver says what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray

from longspan.pools import LABEL, selector

LOOK_SECONDS = 10.0
SAY_SECONDS = 60.0
Say = Callable[[str], None]


def machines(pool: str | None) -> list[dict[str, Any]]:
    """The nodes that are up, as Ray describes them: those of a pool, or all."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    return [node for node in alive if pool in (None, node["Labels"].get(LABEL))]


def gpus_of(node: dict[str, Any]) -> int:
    """How many GPUs a node has."""
    return int(node["Resources"].get("GPU", 0))


def awaited(task: Any, missing: str, say: Say) -> Any:
    """What a task gives, which may have to wait for a machine.

    Args:
        task: its reference.
        missing: what it waits for, where it waits.
        say: takes a line on that, every minute.
    """
    seconds = LOOK_SECONDS
    while not ray.wait([task], timeout=seconds)[0]:
        say(f"waiting: {missing}; 'ray status' shows what Ray does about it")
        seconds = SAY_SECONDS
    return ray.get(task)


def start_machine(pool: str | None, say: Say) -> None:
    """Return once a pool has a machine; where it has none, Ray's autoscaler starts one."""
    if machines(pool):
        return
    # It starts machines for what tasks take.
    look = ray.remote(num_cpus=1, label_selector=selector(pool))(_nothing)
    awaited(look.remote(), none_up(pool), say)


def none_up(pool: str | None) -> str:
    """That a pool has no machine, in words."""
    return f"pool {pool!r} has no machine yet"


def _nothing() -> None:
    """What a machine is started for: that it runs is enough."""
