"""Pools: nodes that a cluster keeps for one kind of work, by a label that they carry.

`cluster/settings.yaml` gives the label to the machines of each pool; elsewhere `ray start --labels` does.
"""

from __future__ import annotations

from collections.abc import Mapping

LABEL = "longspan.io/pool"
MARKET = "ray.io/market-type"
"""Ray's label of what a machine is paid as: `spot` or `on-demand`."""


def selector(pool: str | None) -> dict[str, str]:
    """Ray's label selector of a pool; any node's where there is none."""
    return {LABEL: pool} if pool else {}


def on_demand(selector: Mapping[str, str]) -> dict[str, str]:
    """The same nodes, if nobody takes them away."""
    return {**selector, MARKET: "on-demand"}
