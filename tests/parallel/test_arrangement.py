"""Groups are formed within nodes where that is possible."""

import pytest

from longspan.errors import UserError
from longspan.parallel.arrangement import arrange, count_across_nodes


def nodes(**counts: int) -> list[str]:
    """Each rank's node, where ranks follow the nodes."""
    return [node for node, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("ranks", "degree", "groups", "across"),
    [
        (nodes(a=4), 1, [(0,), (1,), (2,), (3,)], 0),
        (nodes(a=4), 2, [(0, 1), (2, 3)], 0),
        (nodes(a=8, b=8), 8, [tuple(range(8)), tuple(range(8, 16))], 0),
        (nodes(a=6, b=6), 4, [(0, 1, 2, 3), (4, 5, 10, 11), (6, 7, 8, 9)], 1),
        (nodes(b=2, a=4, c=2), 4, [(0, 1, 6, 7), (2, 3, 4, 5)], 1),
        (["a", "b", "a", "b"], 2, [(0, 2), (1, 3)], 0),
        (nodes(a=1, b=1, c=2), 4, [(0, 1, 2, 3)], 1),
    ],
)
def test_as_many_groups_as_possible_are_within_a_node(
    ranks: list[str], degree: int, groups: list[tuple[int, ...]], across: int
) -> None:
    assert list(arrange(ranks, degree)) == groups
    assert count_across_nodes(ranks, degree) == across


def test_workers_that_form_no_groups_are_refused() -> None:
    with pytest.raises(UserError, match="3 workers cannot form groups of 2; start a multiple of 2"):
        arrange(["a"] * 3, 2)
