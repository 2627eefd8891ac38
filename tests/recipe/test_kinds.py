"""A file given to the wrong command is named as what it is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from longspan.cluster.settings import load_settings as load_cluster
from longspan.config.file_kinds import is_finetuning
from longspan.config.load import load
from longspan.errors import UserError
from longspan.evaluate.schema import EvaluateRecipe
from longspan.instruct.schema import InstructRecipe
from longspan.pipeline.schema import PipelineRecipe
from longspan.recipe.load import load_recipe, load_training
from longspan.recipe.sft import SftRecipe
from longspan.serve.config import load_settings as load_serving

ROOT = Path(__file__).parents[2]
FILES = {
    "pretraining": ROOT / "jobs/recipes/quickstart.yaml",
    "finetuning": ROOT / "jobs/recipes/sft/quickstart.yaml",
    "self-instruct": ROOT / "jobs/recipes/self_instruct.yaml",
    "evaluation": ROOT / "jobs/recipes/evaluate/quick.yaml",
    "pipeline": ROOT / "jobs/recipes/pipeline/quickstart.yaml",
    "chat service": ROOT / "serving/chat.yaml",
    "cluster": ROOT / "cluster/settings.yaml",
}
READERS: dict[str, Callable[[Path], object]] = {
    "pretraining": load_recipe,
    "finetuning": lambda path: load(SftRecipe, path),
    "self-instruct": lambda path: load(InstructRecipe, path),
    "evaluation": lambda path: load(EvaluateRecipe, path),
    "pipeline": lambda path: load(PipelineRecipe, path),
    "chat service": load_serving,
    "cluster": load_cluster,
}


@pytest.mark.parametrize("asked", READERS)
@pytest.mark.parametrize("given", FILES)
def test_the_wrong_kind_is_named_with_the_command_that_takes_it(asked: str, given: str) -> None:
    path = FILES[given]
    if asked == given:
        READERS[asked](path)
        return
    if (asked, given) == ("finetuning", "pretraining"):
        return  # All its keys are keys of finetuning as well.
    with pytest.raises(UserError) as told:
        READERS[asked](path)
    message = str(told.value)
    assert "\n" not in message
    assert f"{path} is " in message and given in message.split(" is ")[1].split(" (")[0]
    assert f"{path}" in message.split("; run: longspan ")[1]


@pytest.mark.parametrize("path", sorted((ROOT / "jobs/recipes/sft").glob("*.yaml")))
def test_recipes_of_finetuning_are_told_from_those_of_pretraining(path: Path) -> None:
    assert isinstance(load_training(path), SftRecipe)


@pytest.mark.parametrize("path", sorted((ROOT / "jobs/recipes").glob("llama*.yaml")))
def test_recipes_of_pretraining_are(path: Path) -> None:
    assert not isinstance(load_training(path), SftRecipe)


def test_conversations_among_weighted_corpora_are_no_evidence() -> None:
    chat = {"name": "chat", "path": "x", "format": "chat"}
    assert is_finetuning({"base_model": "m", "corpora": [chat]})
    assert not is_finetuning({"base_model": "m", "corpora": [chat | {"weight": 1}]})
    assert not is_finetuning({"base_model": "m", "corpora": "x"})
    assert not is_finetuning([])


def test_the_folder_that_was_searched_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("{}")
    with pytest.raises(UserError) as told:
        load_recipe("my.yaml")
    assert f"there is no file 'my.yaml' in {tmp_path}; the nearest is 'mine.yaml'" in str(
        told.value
    )
    with pytest.raises(UserError, match=f"there is no folder {tmp_path}/recipes"):
        load_recipe("recipes/my.yaml")
    with pytest.raises(UserError, match="is a folder, not a file"):
        load_recipe(tmp_path)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(UserError) as told:
        load_recipe("my.yaml")
    assert "a submitted job starts in a folder of the cluster's" in str(told.value)
    assert "--working-dir" in str(told.value)


def test_a_key_that_is_missing_is_explained(tmp_path: Path) -> None:
    """A finetuning recipe that sets no key which only such recipes have: its corpora have no weights."""
    path = tmp_path / "my.yaml"
    path.write_text("{name: x, base_model: m, target_context: 64, corpora: [{name: a, path: b}]}")
    load(SftRecipe, path)
    with pytest.raises(UserError) as told:
        load_recipe(path)
    assert "corpora.a.weight: required, but not set (Share of the training tokens" in str(
        told.value
    )
    assert "only recipes of jobs/sft.py may leave it out" in str(told.value)
