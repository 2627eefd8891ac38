"""Which ranks form a group, by the nodes that they are on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from longspan.errors import UserError


def arrange(nodes: Sequence[str], degree: int) -> tuple[tuple[int, ...], ...]:
    """Return the ranks of each group: as many groups as possible within a node, the rest across nodes.

    Args:
        nodes: each rank's node, by rank.
        degree: ranks of a group.

    Raises:
        UserError: the ranks cannot be divided into groups of this size.
    """
    if len(nodes) % degree:
        raise UserError(
            f"workers.sequence_parallel: {len(nodes)} workers cannot form groups of {degree}; "
            f"start a multiple of {degree}"
        )
    ranks: dict[str, list[int]] = defaultdict(list)
    for rank, node in enumerate(nodes):
        ranks[node].append(rank)
    whole: list[tuple[int, ...]] = []
    left: list[int] = []
    for of_node in ranks.values():
        end = len(of_node) // degree * degree
        whole += [tuple(of_node[first : first + degree]) for first in range(0, end, degree)]
        left += of_node[end:]
    left.sort()
    across = [tuple(left[first : first + degree]) for first in range(0, len(left), degree)]
    return tuple(sorted(whole + across))


def count_across_nodes(nodes: Sequence[str], degree: int) -> int:
    """Return how many groups have ranks on more than one node."""
    groups = arrange(nodes, degree)
    return sum(len({nodes[rank] for rank in ranks}) > 1 for ranks in groups)
