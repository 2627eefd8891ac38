"""The command `longspan`: what it prints, what it imports, and how it ends."""

import runpy
import subprocess
import sys
from pathlib import Path

import click
import pytest

from longspan.cli.completion import VARIABLE
from longspan.cli.entry import command_named, invoke, main
from longspan.cli.exit_codes import ExitCode
from longspan.cli.packaged import recipe_names, recipe_path
from longspan.cli.root import root
from longspan.errors import UserError
from longspan.evaluate.exit_status import EXIT_STATUS
from longspan.pipeline.schema import PipelineRecipe
from longspan.pipeline.stages import stages_of
from longspan.recipe.load import load, load_recipe

ROOT = Path(__file__).parents[2]


def run(*words: str) -> int:
    return invoke(root, "longspan", words)


def test_the_page_is_up_to_date() -> None:
    writer = runpy.run_path(str(ROOT / "docs" / "write_commands.py"))
    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert written == writer["page"](), "python docs/write_commands.py writes it anew"


def test_help_imports_nothing_that_is_slow() -> None:
    heavy = {"numpy", "pyarrow", "pydantic", "ray", "torch", "transformers", "yaml"}
    code = (
        "import sys; sys.argv[1:] = ['--help']; from longspan.cli.entry import main\n"
        f"assert main() == 0; assert not {heavy} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "longspan doctor" in done.stdout


def test_every_status_of_a_command_is_documented() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert all(f"| {code.value} | {code.meaning} |" in page for code in ExitCode)
    verdicts = {
        "pass": ExitCode.OK,
        "fail": ExitCode.VERDICT_FAIL,
        "inconclusive": ExitCode.VERDICT_INCONCLUSIVE,
    }
    assert verdicts == EXIT_STATUS
    with pytest.raises(ValueError, match="7 is not a valid ExitCode"):
        invoke(click.Command("other", callback=lambda: 7), "other", [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evalute"], "Did you mean 'evaluate'"),
        (["pretrain", "--plam"], "Did you mean '--plan'"),
        (["pretrain", "a.yaml", "b.yaml"], "one recipe at a time, not a.yaml and b.yaml"),
        (["plan"], "name one recipe"),
        (["serve", "keys", "add", "x", "--concurrent", "few"], "'few' is neither a number nor"),
    ],
)
def test_a_mistake_in_the_command_line_has_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == ExitCode.USER_ERROR
    assert message in capsys.readouterr().err


def test_a_package_of_an_extra_that_is_missing_is_named_with_the_extra() -> None:
    def lacks(name: str) -> click.Command:
        def callback() -> None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return click.Command("job", callback=callback)

    with pytest.raises(UserError, match=r"lm_eval: .*pip install 'longspan\[evaluate\]'"):
        invoke(lacks("lm_eval"), "job", [])
    with pytest.raises(ModuleNotFoundError):
        invoke(lacks("no_package_of_ours"), "job", [])


def test_a_shell_completes_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("COMP_WORDS", "longspan se")
    assert main() == 0
    assert [line.split(",")[1] for line in capsys.readouterr().out.split()] == [
        "self-instruct",
        "serve",
    ]
    monkeypatch.delenv(VARIABLE)
    assert run("completion", "zsh") == 0
    assert f"{VARIABLE}=zsh_complete" in capsys.readouterr().out


def test_packaged_recipes_are_listed_and_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("recipes", "list") == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == list(recipe_names())
    assert any(row.startswith("evaluate/quick ") and "longspan evaluate " in row for row in rows)

    mine = tmp_path / "my.yaml"
    assert run("recipes", "copy", "llama3-8b-64k", str(mine)) == 0
    assert load_recipe(mine) == load_recipe(recipe_path("llama3-8b-64k"))
    with pytest.raises(UserError, match=r"FILE: .*my\.yaml exists"):
        run("recipes", "copy", "quickstart", str(mine))
    with pytest.raises(UserError, match=r"no packaged recipe 'llama3'; there are: .*llama3-8b-64k"):
        run("recipes", "copy", "llama3", str(tmp_path / "x.yaml"))


def test_a_copied_pipeline_has_its_recipes_beside_it(tmp_path: Path) -> None:
    original, mine = recipe_path("pipeline/quickstart"), tmp_path / "my.yaml"
    assert run("recipes", "copy", "pipeline/quickstart", str(mine)) == 0
    copied = stages_of(load(PipelineRecipe, mine), mine, [])
    assert all(stage.path.parent == tmp_path for stage in copied)
    packaged = stages_of(load(PipelineRecipe, original), original, [])
    assert [each.recipe for each in copied] == [each.recipe for each in packaged]


def test_jobs_find_the_packaged_recipes_where_the_docs_have_them() -> None:
    assert (ROOT / "jobs" / "recipes").resolve() == recipe_path("quickstart").parent
    assert (ROOT / "serving" / "chat.yaml").resolve() == recipe_path("serving/chat")


def test_a_plan_is_that_of_the_job_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for recipe, key in (("quickstart", "base_model"), ("self_instruct", "generator")):
        with pytest.raises(UserError, match=f"^{key}"):
            run("plan", str(recipe_path(recipe)), "storage.root=store")
    assert run("plan", str(recipe_path("pipeline/quickstart")), "storage.root=store") == 0
    assert "to be run" in capsys.readouterr().out
    with pytest.raises(UserError, match="is the settings of a cluster, which has no plan"):
        run("plan", str(ROOT / "cluster" / "settings.yaml"))


def test_scripts_of_jobs_are_commands() -> None:
    scripts = {path.stem for path in (ROOT / "jobs").glob("*.py")}
    assert scripts == {
        "check_history", "evaluate", "ingest", "pipeline", "pretrain", "self_instruct", "sft",
    }  # fmt: skip
    assert all(command_named(script) for script in scripts)
