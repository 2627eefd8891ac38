"""Stages of a pipeline: what is of which, what is done, and what makes it undone."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from longspan.cli.exit_codes import ExitCode
from longspan.config.load import load, parse
from longspan.errors import UserError
from longspan.instruct import prompt_files
from longspan.pipeline.run import print_stages, run
from longspan.pipeline.schema import PipelineRecipe
from longspan.pipeline.stages import Stage, stages_of
from longspan.storage import sealed
from tests.tiny import make_tiny_tokenizer

RECIPES = Path(__file__).parents[2] / "jobs" / "recipes"


def test_the_shipped_pipeline_is_valid() -> None:
    path = RECIPES / "pipeline" / "quickstart.yaml"
    stages = stages_of(load(PipelineRecipe, path), path, ["sft.training.epochs=2"])
    found = {stage.name: stage for stage in stages}
    names = ["pretrain", "evaluate_pretrain", "self_instruct", "sft", "evaluate_sft"]
    assert list(found) == names
    assert found["sft"].command[-1] == "training.epochs=2"
    assert found["self_instruct"].output == "instruct/quickstart/manifest.json"
    assert found["sft"].output == "runs/quickstart-chat/exported.json"
    assert found["evaluate_sft"].output == "evaluate/quickstart-sft/results.json"


def test_a_printed_command_is_what_a_shell_runs(capsys: pytest.CaptureFixture[str]) -> None:
    path = RECIPES / "pipeline" / "quickstart.yaml"
    stages = stages_of(load(PipelineRecipe, path), path, ["sft.base_model=it's mine"])
    assert print_stages(stages) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("   ")]
    assert [shlex.split(line) for line in lines] == [["longspan", *each.command] for each in stages]
    assert any("corpora=[{" in word for word in shlex.split(lines[3]))


def test_a_stage_runs_in_the_folder_of_its_pipeline(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, tmp_path: Path
) -> None:
    program = "import os, sys; open('ran', 'w').write(os.getcwd()); sys.exit(int(sys.argv[1] == 'pretrain') * 3)"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run([stage], [sys.executable, "-c", program]) == 3
    assert (tmp_path / "elsewhere" / "ran").read_text() == str(tmp_path / "elsewhere")


def test_a_stage_that_a_signal_ends_has_failed(stage: Stage) -> None:
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run([stage], [sys.executable, "-c", killed]) == ExitCode.FAILED


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Pretraining with everything that it reads, and what it would leave."""
    store = tmp_path / "store"
    for folder in ("corpora/books", "model", "runs/long/model"):
        (store / folder).mkdir(parents=True)
    (store / "corpora" / "books" / "a.txt").write_text("Once upon a time.")
    make_tiny_tokenizer().save_pretrained(store / "model")
    (store / "model" / "config.json").write_text("{}")
    recipe = {
        "name": "long",
        "base_model": str(store / "model"),
        "target_context": 4096,
        "corpora": [{"name": "books", "path": "corpora/books", "weight": 1}],
        "storage": {"root": str(store)},
    }
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(recipe))
    return one(tmp_path)


def one(folder: Path, *overrides: str) -> Stage:
    pipeline = parse(PipelineRecipe, {"name": "pipe", "pretrain": {"recipe": "long.yaml"}})
    (found,) = stages_of(pipeline, folder / "pipe.yaml", overrides)
    return found


def finished(stage: Stage) -> None:
    inputs = stage.inputs()
    stage.begin(inputs)
    assert not stage.is_done()
    stage.end(inputs)


def test_what_has_ended_well_is_done_until_something_changes(stage: Stage, tmp_path: Path) -> None:
    assert not stage.is_done()
    finished(stage)
    assert not stage.is_done(), "what it says is not there"
    (tmp_path / "store" / "runs" / "long" / "exported.json").write_text("{}")
    assert stage.is_done()
    assert one(tmp_path).is_done(), "another start of the pipeline"
    assert not one(tmp_path, "pretrain.training.seed=1").is_done()


@pytest.mark.parametrize("path", ["corpora/books/b.txt", "model/model.safetensors"])
def test_another_corpus_or_model_makes_it_undone(stage: Stage, tmp_path: Path, path: str) -> None:
    (tmp_path / "store" / "runs" / "long" / "exported.json").write_text("{}")
    finished(stage)
    assert stage.is_done()
    (tmp_path / "store" / path).write_text("Another one.")
    assert not stage.is_done()
    with pytest.raises(UserError, match=r"has begun with other corpora.*pretrain\.name="):
        stage.begin(stage.inputs())
    other = one(tmp_path, "pretrain.name=anew")
    other.begin(other.inputs())


def test_overrides_are_of_a_stage_or_of_the_store(stage: Stage, tmp_path: Path) -> None:
    assert one(tmp_path, "storage.root=/elsewhere").store.root == "/elsewhere"
    assert one(tmp_path, "pretrain.name=other").recipe.name == "other"
    for wrong in ("training.seed=1", "sft.training.seed=1", "seed=1"):
        with pytest.raises(UserError, match=r"begin it with the stage .*\(pretrain\)"):
            one(tmp_path, wrong)


def test_mistakes_say_in_which_stage_they_are(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pretrain: trainin: unknown key; .* is training"):
        one(tmp_path, "pretrain.trainin.seed=1")
    with pytest.raises(UserError, match="give at least one stage: pretrain, self_instruct, sft"):
        parse(PipelineRecipe, {"name": "none"})


def test_a_run_that_was_stopped_goes_on(stage: Stage, tmp_path: Path) -> None:
    stage.begin(stage.inputs())
    again = one(tmp_path, "pretrain.workers=2")
    assert not again.is_done()
    again.begin(again.inputs())


def test_prompts_are_inputs(tmp_path: Path) -> None:
    prompts = Path(prompt_files.__file__).parent / "prompts"
    shutil.copytree(prompts, tmp_path / "prompts")
    path = RECIPES / "pipeline" / "quickstart.yaml"
    overrides = [f"storage.root={tmp_path}", f"self_instruct.prompts={tmp_path}/prompts"]
    for name in ("books", "code"):
        (tmp_path / "corpora" / name).mkdir(parents=True)
        (tmp_path / "corpora" / name / "a.txt").write_text("Once.")
    stage = stages_of(load(PipelineRecipe, path), path, overrides)[2]
    before = stage.inputs()
    assert stage.inputs() == before
    with (tmp_path / "prompts" / "critique.txt").open("a") as file:
        file.write("Be strict.\n")
    assert stage.inputs() != before


@pytest.mark.parametrize(
    "change",
    [
        {"command": ["sh", "-c", "touch planted"]},
        {"ended": "yes"},
        {"objects": ["a"]},
        {"format": 2},
        {"run": None},
    ],
)
def test_a_record_of_other_values_is_no_record(stage: Stage, change: dict[str, object]) -> None:
    """What a stage runs, reads and writes comes from its recipe; a record only tells whether it is done."""
    finished(stage)
    stage.store.write_bytes(stage.output, b"{}")
    assert stage.is_done()
    path = "pipelines/pipe/pretrain.json"
    stage.store.write_bytes(path, sealed.dumps(sealed.read(stage.store, path) | change))
    assert not stage.is_done()
