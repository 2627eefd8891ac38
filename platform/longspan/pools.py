"""Pools: nodes that a cluster keeps for one kind of work, by a label that they carry.

`cluster/settings.yaml` gives the label to the machines of each pool; elsewhere `ray start --labels` does.
"""

from __future__ import annotations

LABEL = "longspan.io/pool"


def selector(pool: str | None) -> dict[str, str]:
    """Ray's label selector of a pool; any node's where there is none."""
    return {LABEL: pool} if pool else {}
