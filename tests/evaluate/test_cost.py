"""Cost of an evaluation, against counts made by hand."""

from dataclasses import dataclass

import pytest

from longspan.evaluate.cost import device_hours, forward_flops, probe_costs, total
from tests.model_facts import LLAMA3_8B


@dataclass(frozen=True)
class Named:
    name: str


def test_a_forward_pass_is_two_operations_a_weight_and_half_the_attention_matrix() -> None:
    length = 32_768
    weights = 2 * LLAMA3_8B.parameters * length
    attention = 2 * LLAMA3_8B.layers * 4096 * length**2
    assert forward_flops(LLAMA3_8B, [length]) == pytest.approx(weights + attention)


def test_all_of_ruler_up_to_131072_tokens() -> None:
    """13 tasks, 500 prompts of each length: 1.68e9 tokens, 2.7e19 operations of weights, 3.9e19 of attention."""
    tasks = [Named(f"ruler_{number}") for number in range(13)]
    lengths = [4096 << step for step in range(6)]
    costs = probe_costs(LLAMA3_8B, tasks, lengths, 500)  # type: ignore[arg-type]
    assert len(costs) == 13 * 6
    everything = total(costs)
    assert everything.tokens == 13 * 500 * sum(lengths)
    assert everything.flops == pytest.approx(6.6e19, rel=0.01)
    assert device_hours(everything.flops, 989.5) == pytest.approx(46, rel=0.02)
