"""The learning rate rises, falls to its end, and knows no history."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.train.learning_rate import CosineSchedule


def test_warm_up_starts_above_zero_and_the_last_update_reaches_the_end() -> None:
    schedule = CosineSchedule(peak=1.0, final=0.1, warmup_updates=4, total_updates=20)
    rates = [schedule.learning_rate(update) for update in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert rates[4:] == sorted(rates[4:], reverse=True)


@given(st.integers(0, 50), st.integers(1, 200))
def test_rates_stay_between_zero_and_the_peak(warmup: int, total: int) -> None:
    schedule = CosineSchedule(peak=2.0, final=0.2, warmup_updates=warmup, total_updates=total)
    assert all(0 < schedule.learning_rate(update) <= 2.0 for update in range(total))
