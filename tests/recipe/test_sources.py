"""Relative places mean one folder: resolved where a shell is, refused where a submitted job would make another one."""

from pathlib import Path

import pytest

from longspan.config.locations import open_store, relative_root_note
from longspan.errors import UserError
from longspan.recipe.load import parse_recipe
from tests.recipe.test_load import GOOD

JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def test_a_submitted_job_makes_no_store_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = parse_recipe(GOOD | {"storage": {"root": "my/store"}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(JOB, raising=False)
    assert open_store(recipe).root == str(tmp_path / "my" / "store")
    monkeypatch.setenv(JOB, "{}")
    with pytest.raises(UserError) as told:
        open_store(recipe)
    assert f"{tmp_path}/my/store is not there" in str(told.value)
    assert "give an absolute path" in str(told.value)
    (tmp_path / "my" / "store").mkdir(parents=True)
    assert open_store(recipe).root == str(tmp_path / "my" / "store")


@pytest.mark.parametrize("root", ["/data/store", "s3://bucket/prefix", "~/store"])
def test_other_roots_are_the_same_everywhere(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = parse_recipe(GOOD | {"storage": {"root": root}})
    monkeypatch.setenv(JOB, "{}")
    assert open_store(recipe).root
    monkeypatch.delenv(JOB)
    assert relative_root_note(recipe) is None


def test_a_relative_root_is_shown_as_what_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = parse_recipe(GOOD | {"storage": {"root": "store"}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(JOB, raising=False)
    monkeypatch.delenv("LONGSPAN_ROOT", raising=False)
    assert f"'store' is relative, here {tmp_path}/store" in (relative_root_note(recipe) or "")
    monkeypatch.setenv("LONGSPAN_ROOT", str(tmp_path))
    assert relative_root_note(recipe) is None, "the folder of `make head`"
