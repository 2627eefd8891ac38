import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longspan.errors import UserError
from longspan.plan.device import Device, this_machines_device
from longspan.recipe.derive import derive
from longspan.recipe.load import load_recipe, parse_recipe
from longspan.recipe.model import facts_of
from longspan.recipe.sharing import require_shared_rows
from longspan.storage import Store
from longspan.train.checkpoint.checkpoints import Checkpoint, CheckpointFacts, Checkpoints
from longspan.train.prepare import at_commits, plan_text, prepare, prepare_without_ray
from tests.model.hub import hub_on_loopback, use
from tests.train.identity import identity

RECIPES = Path(__file__).parents[2] / "jobs" / "recipes"


@pytest.mark.parametrize(("stage", "refused"), [(2, True), (3, False)])
def test_weights_that_no_device_holds_need_stage_3(
    tmp_path: Path, stage: int, refused: bool
) -> None:
    changes = [f"storage.root={tmp_path}", f"training.zero_stage={stage}"]
    recipe = load_recipe(RECIPES / "llama2-70b-16k.yaml", changes)
    problems = "\n".join(plan_text(recipe)[1])
    message = f"with stage {stage} each device holds all weights, 128 GiB"
    assert (message in problems) == refused


@pytest.mark.parametrize(("degree", "refused"), [(8, False), (32, False), (64, True)])
def test_the_degree_of_sequence_parallelism_has_to_fit_the_model(
    tmp_path: Path, degree: int, refused: bool
) -> None:
    changes = [f"storage.root={tmp_path}", f"workers.sequence_parallel={degree}"]
    problems = "\n".join(plan_text(load_recipe(RECIPES / "llama3-8b-512k.yaml", changes))[1])
    told = "with 32 query heads and 8 key-value heads; the nearest possible degree: 32"
    assert (told in problems) == refused
    assert ("sequence_parallel" in problems) == refused


@pytest.mark.parametrize(
    ("facts", "attention", "told"),
    [
        ({}, "auto", None),
        ({}, "eager", "rows cannot be shared with training.attention eager"),
        ({"mixing_layer": "Lfm2ShortConv"}, "auto", "Lfm2ShortConv layers of this llama model"),
        ({"shares_rows": False}, "auto", "the losses of a tiny model of this llama architecture"),
    ],
)
def test_models_whose_rows_cannot_be_divided_are_refused(
    facts: dict[str, Any], attention: str, told: str | None
) -> None:
    changes = [f"training.attention={attention}"]
    recipe = load_recipe(RECIPES / "llama3-8b-512k.yaml", changes)
    assert recipe.architecture
    model = replace(facts_of(recipe.architecture), **facts)
    plan = derive(recipe, model, Device("cpu", "CPU", 2**34, bf16=False))
    if told is None:
        require_shared_rows(recipe, model, plan)
        return
    with pytest.raises(UserError, match=told):
        require_shared_rows(recipe, model, plan)
    one = recipe.model_copy(
        update={"workers": recipe.workers.model_copy(update={"sequence_parallel": 1})}
    )
    require_shared_rows(one, model, plan)


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


@pytest.mark.parametrize("finished", [True, False])
def test_another_recipe_under_a_finished_run_s_name_is_told_how_to_extend_it(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UserError("training.tokens: the run has 10 updates, this recipe 20; undo the change")

    monkeypatch.setattr("longspan.train.prepare.run_data", refuse)
    corpora = [{"name": "a", "path": "corpora", "weight": 1}]
    facts = {"name": "run", "target_context": 4096, "corpora": corpora}
    recipe = parse_recipe(
        facts | {"base_model": str(tiny_model), "storage": {"root": str(tmp_path)}}
    )
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "a.txt").write_text("Some text.")
    if finished:
        (tmp_path / "runs" / "run" / "model").mkdir(parents=True)
        (tmp_path / "runs" / "run" / "exported.json").write_text("{}")
        (tmp_path / "runs" / "run" / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="undo the change") as told:
        prepare(recipe, Device("cpu", "CPU", 2**34, bf16=False))
    how = "name=NEW-NAME base_model=runs/run/model training.seed=1"
    assert (how in str(told.value)) == finished


def test_the_default_length_is_refused_where_the_data_is_far_too_little(tmp_path: Path) -> None:
    (tmp_path / "corpora").mkdir()
    (tmp_path / "corpora" / "notes.txt").write_text("A few words of one's own. " * 4000)
    changes = [
        f"storage.root={tmp_path}",
        "corpora=[{name: notes, path: corpora, weight: 1}]",
        "training={}",
        "optimizer={}",
        "workers={min: 1, max: 1, gpus_per_worker: 1}",
    ]
    recipe = load_recipe(RECIPES / "llama2-7b-32k.yaml", changes)
    text, problems = plan_text(recipe)
    (told,) = [problem for problem in problems if problem.startswith("training.tokens: unset")]
    assert "corpora.notes (about 24,761 tokens) about 169,392 times" in told
    assert "For 4 passes set training.tokens=99044" in told
    small = load_recipe(RECIPES / "llama2-7b-32k.yaml", [*changes, "training.tokens=99044"])
    text, problems = plan_text(small)
    assert not [problem for problem in problems if problem.startswith("training.tokens")]
    assert "Note: training.tokens: 99,044 is rounded up by 32 % to 131,072" in text


def test_notes_of_the_plan_are_printed_by_the_job(tmp_path: Path, tiny_model: Path) -> None:
    llama3 = {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 2.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128,
    }
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    config = json.loads((model / "config.json").read_text()) | {"rope_parameters": llama3}
    (model / "config.json").write_text(json.dumps(config))
    recipe = parse_recipe(
        {
            "name": "run",
            "base_model": str(model),
            "target_context": 4096,
            "corpora": [{"name": "a", "path": "a", "weight": 1}],
            "storage": {"root": str(tmp_path / "store")},
        }
    )
    lines: list[str] = []
    with pytest.raises(UserError):  # Nothing is ingested.
        prepare_without_ray(recipe, this_machines_device(0), lines.append)
    assert any("Note: positions.encoding: abf replaces the model's own llama3" in x for x in lines)
