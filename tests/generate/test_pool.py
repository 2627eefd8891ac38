"""What engines take of a cluster, and of which nodes; none is started."""

from typing import Any

import pytest

from longspan.generate.engine import Engine
from longspan.generate.requests import Request, Sampling

pytestmark = pytest.mark.real
POOL = {"longspan.io/pool": "serving"}
TWO = {"tensor_parallel_size": 2}


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ({"gpu": False}, (None, {})),
        ({"gpu": False, "pool": "serving"}, (None, POOL)),
        ({"gpu": True, "pool": "serving"}, (1, POOL)),
        # All of a divided engine is on one node of the pool.
        ({"gpu": True, "pool": "serving", "arguments": TWO}, (2, POOL)),
        ({"gpu": True, "arguments": TWO}, (0, {})),
    ],
)
def test_an_engine_takes_what_it_needs_of_the_pool(
    ray_session: str, asked: dict[str, Any], taken: tuple[int | None, dict[str, str]]
) -> None:
    import ray.data

    request = Request("a", Sampling(16, 0.0), 1, prompt_ids=[1, 2])
    replies = Engine("m", 128, **asked).replies(ray.data.from_items([request.row()]))
    stage = replies._logical_plan.dag
    while "ReportingStage" not in stage.name:
        (stage,) = stage.input_dependencies
    found = stage.ray_remote_args
    assert (found.get("num_gpus"), found["label_selector"]) == taken
