import math

import pytest

from longspan.observe.units import count, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (130, "2m10s"),
        (3599.7, "1h00m"),
        (11_100, "3h05m"),
        (86_400 * 4 + 3600 * 7, "4d07h"),
        (-3, "0s"),
        (math.nan, "unknown"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (3.14159, "3.14"),
        (812.3, "812"),
        (999.7, "1k"),
        (12_345, "12.3k"),
        (1_250_000, "1.25M"),
        (4e11, "400B"),
    ],
)
def test_counts(number, text):
    assert count(number) == text
