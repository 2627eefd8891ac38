from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.recipe.load import load_recipe, parse_recipe
from longspan.storage import Store
from longspan.train.checkpoint import Checkpoint, CheckpointFacts, Checkpoints
from longspan.train.prepare import at_commits, plan_text
from tests.model.hub import hub_on_loopback, use
from tests.train.identity import identity

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


def test_a_run_goes_on_with_the_commit_of_its_base_model_that_it_began_with(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "store"))
    corpora = [{"name": "a", "path": "a", "weight": 1}]
    facts = {"name": "run", "target_context": 4096, "corpora": corpora}
    recipe = parse_recipe(facts | {"base_model": "someone/model"})
    with hub_on_loopback() as hub:
        use(monkeypatch, tmp_path / "hub", hub.url)
        first = f"someone/model@{hub.push('someone/model', tiny_model)}"
        assert at_commits(recipe, store).base_model == first
        began = Checkpoint(CheckpointFacts(1, 1, "order", identity(f"base_model={first}")), ())
        Checkpoints(store, "runs/run").commit(began)
        second = f"someone/model@{hub.push('someone/model', tiny_model)}"
        assert at_commits(recipe, store).base_model == first
        other_run = recipe.model_copy(update={"name": "other"})
        assert at_commits(other_run, store).base_model == second
        # Asked for by its name it is another model, which a run's checkpoint tells.
        asked = at_commits(recipe.model_copy(update={"base_model": second}), store)
        assert asked.base_model == second
        with pytest.raises(UserError, match=r"base_model: the checkpoint .* has someone/model@"):
            began.facts.require(CheckpointFacts(1, 1, "order", identity(f"base_model={second}")))
