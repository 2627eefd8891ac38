"""Nodes of the cluster: those that are up, and waiting for nodes that Ray's autoscaler starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from longspan._compat.ray_core import available_resources_per_node, failed_launches
from longspan.runtime.pool import LABEL, on_demand, selector

LOOK_SECONDS = 10.0
SAY_SECONDS = 60.0
REFUSED_SECONDS = 60.0
Log = Callable[[str], None]
Labels = Mapping[str, str]


def machines(pool: str | None) -> list[dict[str, Any]]:
    """The nodes that are up, as Ray describes them: those of a pool, or all."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    return [node for node in alive if pool in (None, node["Labels"].get(LABEL))]


def gpus_of(node: dict[str, Any]) -> int:
    """How many GPUs a node has."""
    return int(node["Resources"].get("GPU", 0))


def start_machine(pool: str | None, log: Log, on_demand_after_s: float | None = None) -> None:
    """Return once a pool has a machine; where it has none, Ray's autoscaler starts one (see `awaited`)."""
    if not machines(pool):
        _start(pool, none_up(pool), log, on_demand_after_s)


def free_cpus(pool: str | None, log: Log) -> int:
    """CPUs of a pool's nodes, or of all, that nobody has taken; the first machine that has any is waited for."""
    if not any(node["Resources"].get("CPU") for node in machines(pool)):
        of_pool = f" of pool {pool!r}" if pool else ""
        _start(pool, f"no machine{of_pool} has a CPU", log)
    free = available_resources_per_node()
    return int(sum(free.get(node["NodeID"], {}).get("CPU", 0) for node in machines(pool)))


def awaited(
    ask: Callable[[Labels], Any],
    pool: str | None,
    missing: str,
    log: Log,
    on_demand_after_s: float | None = None,
) -> Any:
    """What a task gives, which may have to wait for a machine.

    Args:
        ask: starts the task on a node of these labels.
        pool: whose nodes will do; any when None.
        missing: what it waits for, where it waits.
        log: takes a line on that, every minute.
        on_demand_after_s: seconds of refusals (see `refused`) after which it asks for a machine on demand instead;
            the two then take turns. None: never.
    """
    began = asked = time.time()
    said, labels = -SAY_SECONDS, selector(pool)
    task = ask(labels)
    while not ray.wait([task], timeout=LOOK_SECONDS)[0]:
        now = time.time()
        if on_demand_after_s is not None and now - asked >= on_demand_after_s:
            asked, spot = now, labels == selector(pool)
            if types := refused(pool, log) if spot else []:
                log(asks_on_demand(types))
            if types or not spot:
                ray.cancel(task)  # Or a machine would come for each of the two.
                labels = on_demand(selector(pool)) if spot else selector(pool)
                task = ask(labels)
        if now - began - said >= SAY_SECONDS:
            said = now - began
            log(f"waiting: {missing}; 'ray status' shows what Ray does about it")
    return ray.get(task)


def refused(pool: str | None, log: Log) -> list[str]:
    """A pool's node types whose machines the cloud has refused to start within the last minute.

    By their names, which begin with the pool's in our files: Ray tells no labels of them. Its autoscaler starts the
    type of the highest priority and, where that is refused, Ray 2.60 tries it again and again: it takes a type for
    scarce only when its machines start and never come up. ``log`` hears of a head that does not answer.
    """
    try:
        launches = failed_launches()
    except ray.exceptions.RayError as error:
        log(f"cannot see which machines are refused: {error}")
        return []
    lately = time.time() - REFUSED_SECONDS
    types = {each.node_type for each in launches if each.failed_at_s >= lately}
    return sorted(each for each in types if each.startswith(pool or ""))


def asks_on_demand(types: Sequence[str]) -> str:
    """That machines on demand are asked for, in words."""
    return f"no machine of type {' or '.join(types)} can be had: asking for machines on demand"


def none_up(pool: str | None) -> str:
    """That a pool has no machine, in words."""
    return f"pool {pool!r} has no machine yet"


def _start(
    pool: str | None, missing: str, log: Log, on_demand_after_s: float | None = None
) -> None:
    """Ray's autoscaler starts machines for what tasks take."""

    def ask(labels: Labels) -> Any:
        return ray.remote(num_cpus=1, label_selector=dict(labels))(nothing).remote()

    awaited(ask, pool, missing, log, on_demand_after_s)


def nothing() -> None:
    """What a machine is started for: that it runs is enough."""
