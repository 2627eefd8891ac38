"""Private interfaces of DeepSpeed, on one rank at each ZeRO stage."""

import json
from typing import Any

import pytest

from tests.compat import zero_worker
from tests.ranks import RankServer

pytestmark = pytest.mark.real

STAGES = pytest.mark.parametrize("stage", [1, 2, 3])


@pytest.fixture(scope="module")
def found(ranks: RankServer) -> dict[int, dict[str, Any]]:
    """What a rank found, by ZeRO stage."""
    done = ranks.run(1, zero_worker.main)
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["stage"]: line for line in lines}


@STAGES
def test_shards_have_all_parameters(found: dict[int, dict[str, Any]], stage: int) -> None:
    assert found[stage]["elements"] == {"weight": 12, "bias": 3}
    assert found[stage]["starts"] == [0, 0]
    assert found[stage]["shapes"] == [[3, 4], [3]]


@STAGES
def test_shards_have_masters_and_moments(found: dict[int, dict[str, Any]], stage: int) -> None:
    assert found[stage]["masters_are_weights"]
    assert found[stage]["moments"] == [["exp_avg", "exp_avg_sq"]] * 2
    assert found[stage]["moments_are_zero"]


@STAGES
def test_weights_follow_from_masters_that_were_written(
    found: dict[int, dict[str, Any]], stage: int
) -> None:
    assert found[stage]["written"] == {"weight": [0.5], "bias": [0.5]}
    assert found[stage]["steps"] == [9.0] * 2


@STAGES
def test_gradients_have_known_types(found: dict[int, dict[str, Any]], stage: int) -> None:
    assert found[stage]["types"] == {
        "accumulation": "torch.float32",
        "communication": "torch.float32",
        "buckets": ["torch.float32"],
        "partition": "torch.float32",
        "has_reduce_scatter": str(stage != 2),
    }
