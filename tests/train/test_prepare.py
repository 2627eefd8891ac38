from pathlib import Path

import pytest

from longspan.recipe.load import load_recipe
from longspan.train.prepare import plan_text

RECIPES = Path(__file__).parents[2] / "jobs" / "recipes"


@pytest.mark.parametrize(("stage", "refused"), [(1, True), (2, True), (3, False)])
def test_weights_that_no_device_holds_need_stage_3(
    tmp_path: Path, stage: int, refused: bool
) -> None:
    changes = [f"storage.root={tmp_path}", f"training.zero_stage={stage}"]
    recipe = load_recipe(RECIPES / "llama2-70b-16k.yaml", changes)
    problems = "\n".join(plan_text(recipe)[1])
    message = f"with stage {stage} each device holds all weights, 128 GiB"
    assert (message in problems) == refused
