import pytest

from longspan.evaluate.combine import Interval
from longspan.evaluate.effective_length import effective_length, own_base_threshold


def scored(*values: float | None) -> dict[int, Interval | None]:
    """Scores at 1,024, 2,048, ... with intervals of +-0.05."""
    return {
        1024 << index: None if value is None else Interval(value, value - 0.05, value + 0.05)
        for index, value in enumerate(values)
    }


@pytest.mark.parametrize(
    ("values", "plain", "conservative"),
    [
        ((1.0, 0.95, 0.92), 4096, 4096),
        ((1.0, 0.9, 0.5), 2048, 1024),
        ((1.0, 0.856, 0.85), 2048, 1024),
        ((0.87, 0.5), 1024, None),
        # A length that is solved again beyond one that is not does not count.
        ((1.0, 0.5, 1.0), 1024, 1024),
        ((0.5, 1.0), None, None),
        # Lengths without replies are not solved.
        ((1.0, None, 1.0), 1024, 1024),
        ((None, 1.0), None, None),
        ((), None, None),
    ],
    ids=str,
)
def test_two_rules(values, plain, conservative):
    assert effective_length(scored(*values), 0.856) == plain
    assert effective_length(scored(*values), 0.856, conservative=True) == conservative


def test_the_order_of_lengths_does_not_matter():
    scores = scored(1.0, 0.9, 0.5)
    assert effective_length(dict(reversed(scores.items())), 0.856) == 2048


def test_own_base_is_the_shortest_length():
    scores = dict(reversed(scored(0.8, 0.69, 0.67).items()))
    threshold = own_base_threshold(scores)
    assert threshold == pytest.approx(0.68)
    assert effective_length(scores, threshold) == 2048


@pytest.mark.parametrize("scores", [{}, scored(None, 0.9)], ids=["none", "unanswered"])
def test_no_base_is_an_error(scores):
    with pytest.raises(ValueError, match="shortest length"):
        own_base_threshold(scores)
