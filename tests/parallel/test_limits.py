"""Which degrees a model's heads and the rows allow."""

import pytest

from longspan.errors import UserError
from longspan.parallel.limits import possible_degrees, require_possible_degree


@pytest.mark.parametrize(
    ("heads", "kv_heads", "lengths", "degrees"),
    [
        (32, 8, [524_288], [1, 2, 4, 8, 16, 32]),  # Llama 3 8B
        (9, 3, [8_192], [1]),  # SmolLM2-135M
        (9, 3, [9_216, 4_608], [1, 3, 9]),
        (28, 4, [32_768], [1, 2, 4]),  # Qwen2.5 7B
        (28, 4, [28 * 1024], [1, 2, 4, 28]),
        (32, 32, [4_096, 6], [1, 2]),
    ],
)
def test_degrees_divide_heads_and_rows(
    heads: int, kv_heads: int, lengths: list[int], degrees: list[int]
) -> None:
    assert possible_degrees(heads, kv_heads, lengths) == degrees


def test_another_degree_is_refused_with_the_nearest() -> None:
    require_possible_degree(4, 28, 4, [32_768])
    told = (
        r"workers\.sequence_parallel: 8 workers cannot share rows of 4,096 and 32,768 tokens in attention with 28 "
        r"query heads and 4 key-value heads; the nearest possible degree: 4 \(possible: 1, 2, 4\)"
    )
    with pytest.raises(UserError, match=told):
        require_possible_degree(8, 28, 4, [32_768, 4_096])
