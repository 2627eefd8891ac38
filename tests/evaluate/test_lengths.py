import pytest

from longspan.errors import UserError
from longspan.evaluate.lengths import evaluated_lengths, evaluated_window, length_ladder


@pytest.mark.parametrize(
    ("window", "lengths"),
    [
        (1024, [128, 256, 512, 1024]),
        (8192, [1024, 2048, 4096, 8192]),
        (131_072, [4096, 8192, 16_384, 32_768, 65_536, 131_072]),
        (12_000, [1500, 3000, 6000, 12_000]),
        (200, [200]),
    ],
)
def test_lengths_double_and_end_with_the_window(window: int, lengths: list[int]) -> None:
    assert length_ladder(window) == lengths


def test_one_step_beyond_the_window_is_twice_the_models_own() -> None:
    assert evaluated_lengths(None, 1024, 1024, beyond_window=True)[-2:] == [1024, 2048]
    assert evaluated_lengths([512], 1024, 8192, beyond_window=True) == [512, 16_384]


def test_lengths_beyond_the_window_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"probes.lengths: 2,048 is longer than the window of 1,024"
    ):
        evaluated_lengths([512, 2048], 1024, 8192, beyond_window=False)
    with pytest.raises(
        UserError, match=r"window: 9,000 is longer than the model's own window of 8,192"
    ):
        evaluated_window(9000, 8192)
    assert evaluated_window(None, 8192) == 8192
