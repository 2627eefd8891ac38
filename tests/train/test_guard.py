"""When a loss is a spike."""

import math

from hypothesis import given
from hypothesis import strategies as st

from longspan.train.loss_spike_guard import MIN_HISTORY, WINDOW, RecentLosses

losses = st.lists(st.floats(0, 20), max_size=2 * WINDOW)


@given(losses, st.floats(0, 20))
def test_any_loss_is_usual_where_no_threshold_is_set_or_little_is_known(
    before: list[float], loss: float
) -> None:
    assert not RecentLosses(None, before).too_high(loss)
    assert not RecentLosses(0.1, before[: MIN_HISTORY - 1]).too_high(loss)


def test_a_spike_is_a_loss_above_the_median_of_the_last_ones_by_more_than_the_threshold() -> None:
    usual = RecentLosses(0.5, [9.0] * 10 + [2.0] * 20 + [9.0] * 12)
    assert not usual.too_high(2.5)
    assert usual.too_high(2.5001)
    assert usual.too_high(math.inf)


@given(losses, losses)
def test_a_run_that_goes_on_from_a_checkpoint_knows_what_was_usual(
    before: list[float], after: list[float]
) -> None:
    undisturbed = RecentLosses(0.5, before)
    resumed = RecentLosses(0.5, undisturbed.losses)
    for loss in after:
        assert undisturbed.too_high(loss) == resumed.too_high(loss)
        undisturbed.add(loss)
        resumed.add(loss)
    assert undisturbed.losses == resumed.losses
    assert len(resumed.losses) <= WINDOW
