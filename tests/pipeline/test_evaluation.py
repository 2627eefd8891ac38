"""Evaluation as a stage of a pipeline: after each training stage, with its model, stopped by its verdict."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from longspan.config.load import parse
from longspan.errors import UserError
from longspan.evaluate.exit_status import EXIT_STATUS, VerdictStatus
from longspan.evaluate.schema import EvaluateRecipe
from longspan.pipeline.run import run
from longspan.pipeline.schema import PipelineRecipe
from longspan.pipeline.stages import Stage, stages_of

CORPORA = [{"name": "books", "path": "corpora/books", "heldout_fraction": 0.1}]

EVALUATION = {
    "name": "unused",
    "model": "unused",
    "corpora": CORPORA,
    "probes": {"files": {"towns": "questions/towns.json"}},
    "losses": {"key_tokens": "models/judge"},
    "own_documents": {"set": "qa"},
    "suites": [
        {
            "name": "short",
            "data": "suites/data",
            "include": ["suites/tasks"],
            "tasks": [
                "gates",
                {
                    "task": "mills",
                    "files": {"test": "suites/mills.jsonl", "train": ["suites/more"]},
                },
            ],
        }
    ],
}
READ = (
    "corpora/books/a.txt",
    "models/base/config.json",
    "runs/long/model/config.json",
    "models/judge/config.json",
    "questions/towns.json",
    "instruct/qa/manifest.json",
    "suites/data/gates/test.jsonl",
    "suites/tasks/gates.yaml",
    "suites/mills.jsonl",
    "suites/more/a.jsonl",
)
"""Objects that the first evaluation reads."""


def written(folder: Path, *, stop_on: str = "fail") -> dict[str, Stage]:
    store = {"root": str(folder / "store")}
    training = {
        "base_model": "models/base",
        "target_context": 4096,
        "corpora": [{"name": "books", "path": "corpora/books", "weight": 1}],
        "storage": store,
    }
    for path in READ:
        file = folder / "store" / path
        if not file.exists():  # Writing it again would make it another version.
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("{}")
    recipes = {
        "long": training | {"name": "long"},
        "chat": training
        | {"name": "chat", "base_model": "runs/long/model", "training": {"tokens": 10_000}},
        "probe": EVALUATION | {"storage": store},
    }
    for name, recipe in recipes.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    pipeline = parse(
        PipelineRecipe,
        {
            "name": "pipe",
            "pretrain": {"recipe": "long.yaml"},
            "sft": {"recipe": "chat.yaml"},
            "evaluate": {"recipe": "probe.yaml", "stop_on": stop_on},
        },
    )
    overrides = ["evaluate.probes.samples=3"]
    return {stage.name: stage for stage in stages_of(pipeline, folder / "pipe.yaml", overrides)}


def test_each_trained_model_is_evaluated_against_the_one_it_began_with(tmp_path: Path) -> None:
    stages = written(tmp_path)
    assert list(stages) == ["pretrain", "evaluate_pretrain", "sft", "evaluate_sft"]
    for name, model, reference in (
        ("evaluate_pretrain", "runs/long/model", "models/base"),
        ("evaluate_sft", "runs/chat/model", "runs/long/model"),
    ):
        recipe = stages[name].recipe
        assert isinstance(recipe, EvaluateRecipe)
        assert (recipe.model, recipe.reference) == (model, reference)
        assert recipe.name == name.replace("evaluate_", "pipe-")
        assert recipe.probes.samples == 3
        assert stages[name].command[0] == "evaluate"


def test_an_evaluation_of_no_trained_model_is_refused() -> None:
    with pytest.raises(UserError, match=r"evaluate: would be ignored.*\(sft\)"):
        parse(
            PipelineRecipe,
            {
                "name": "pipe",
                "pretrain": {"recipe": "long.yaml"},
                "evaluate": {"recipe": "probe.yaml", "after": ["sft"]},
            },
        )


@pytest.mark.parametrize(
    ("stop_on", "status", "goes_on"),
    [
        ("fail", 0, True),
        ("fail", 3, False),
        ("fail", 4, True),
        ("inconclusive", 3, False),
        ("inconclusive", 4, False),
        ("never", 3, True),
        ("never", 4, True),
        ("never", 1, False),
        ("never", 2, False),
    ],
)
def test_a_verdict_ends_the_pipeline_as_its_recipe_says(
    tmp_path: Path, stop_on: str, status: int, goes_on: bool
) -> None:
    stages = written(tmp_path, stop_on=stop_on)
    assert stages["evaluate_pretrain"].succeeds_with(status) == goes_on
    assert stages["pretrain"].succeeds_with(status) == (status == 0)


def evaluated(folder: Path, stage: Stage, verdict: VerdictStatus) -> int:
    """Run the stage with a job that ends in a verdict; returns its exit status."""
    job = folder / "program.py"
    results = folder / "store" / stage.output
    job.write_text(
        "from pathlib import Path\n"
        f"p = Path({str(results)!r})\np.parent.mkdir(parents=True, exist_ok=True)\n"
        f"p.write_text({json.dumps({'verdict': {'status': verdict}})!r})\n"
        f"raise SystemExit({EXIT_STATUS[verdict]})\n"
    )
    return run([stage], [sys.executable, str(job)])


def test_a_failed_verdict_that_was_let_pass_stops_a_stricter_pipeline(tmp_path: Path) -> None:
    stage = written(tmp_path, stop_on="never")["evaluate_pretrain"]
    assert evaluated(tmp_path, stage, "fail") == 0
    assert stage.is_done()
    assert not written(tmp_path)["evaluate_pretrain"].is_done()


def test_a_verdict_that_stops_the_pipeline_says_what_to_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = written(tmp_path)["evaluate_pretrain"]
    assert evaluated(tmp_path, stage, "fail") == EXIT_STATUS["fail"]
    assert capsys.readouterr().err == (
        "evaluate_pretrain: the verdict is fail; the pipeline stops (evaluate.stop_on: fail); train another model, "
        "change gate.*, or set stop_on: never\n"
    )


@pytest.mark.parametrize("path", READ)
def test_an_evaluation_is_done_again_when_anything_that_it_reads_has_changed(
    tmp_path: Path, path: str
) -> None:
    stage = written(tmp_path)["evaluate_pretrain"]
    inputs = stage.inputs()
    stage.begin(inputs)
    stage.store.write_bytes(stage.output, json.dumps({"verdict": {"status": "pass"}}).encode())
    stage.end(inputs)
    assert stage.is_done()
    (tmp_path / "store" / path).write_text("changed")
    assert not stage.is_done()
