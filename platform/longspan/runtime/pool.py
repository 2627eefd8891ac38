"""Pools: nodes reserved for one kind of work, identified by a label.

`cluster/settings.yaml` gives the label to the machines of each pool; elsewhere `ray start --labels` does.
"""

from __future__ import annotations

from collections.abc import Mapping

LABEL = "longspan.io/pool"
MARKET = "ray.io/market-type"
"""Ray's label of a node's market type: `spot` or `on-demand`."""


def selector(pool: str | None) -> dict[str, str]:
    """Return Ray's label selector of a pool; None matches any node."""
    return {LABEL: pool} if pool else {}


def on_demand(selector: Mapping[str, str]) -> dict[str, str]:
    """Return the selector restricted to on-demand nodes."""
    return {**selector, MARKET: "on-demand"}
