"""The pretraining job as its user runs it, on a real Ray with real DeepSpeed."""

import json
import re
import subprocess
import sys
import urllib.request

import pytest
import yaml

from longspan.history.check import compare
from tests.jobs.project import ROOT, Project, said

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_a_run_ends_with_a_better_model_and_says_where_it_is(
    project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    assert first_run.returncode == 0, first_run.stdout[-4000:] + first_run.stderr[-2000:]
    text = first_run.stdout
    ((before, after),) = re.findall(r"Held-out loss: +([\d.]+) -> ([\d.]+)", text)
    assert float(after) < float(before)
    for word in (
        "Checkpoint:",
        "Exported model:",
        "Metrics:",
        "loss-by-position.png",
        "Next:",
    ):
        assert word in text
    config = json.loads(project.store.read_bytes("runs/tiny/model/config.json"))
    assert config["max_position_embeddings"] == 512
    assert config["rope_parameters"]["rope_theta"] == 500_000
    updates = project.records("tiny", "update")
    assert [record["update"] for record in updates] == list(range(1, 13))
    assert {record["tokens"] for record in updates} == {512}
    assert [record["length"] for record in updates] == [64] * 6 + [128] * 6
    assert {record["phase"] for record in project.records("tiny", "heldout")} == {
        "original",
        "start",
        "during",
        "end",
    }


@pytest.mark.deep
def test_submitting_it_again_goes_on_where_it_ended(
    project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    added = project.folder / "store" / "corpora" / "long" / "zz-new.txt"
    added.write_text("It came when the run had begun. " * 500)
    again = project.submit(options=("--working-dir", "."))
    added.unlink()
    assert again.returncode == 0, again.stdout[-4000:] + again.stderr[-2000:]
    assert "resumed at update 12" in again.stdout
    assert again.stdout.count("as at this run's start") == 3
    assert "ingest:" not in again.stdout
    assert (
        "1 objects were added or changed after this run started (1 new, 0 changed)" in again.stdout
    )
    assert len(project.records("tiny", "update")) == 12


@pytest.mark.deep
def test_two_workers_under_zero_3_give_the_same_curve(
    project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    done = project.submit(
        "name=two", "workers=2", "workers.cpus_per_worker=1", "training.zero_stage=3"
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    one, two = (project.records(run, "update") for run in ("tiny", "two"))
    assert [r["loss"] for r in two] == pytest.approx([r["loss"] for r in one], rel=1e-5)
    sources = [key for key in one[0] if key.startswith("source_tokens.")]
    assert [[r[key] for key in sources] for r in two] == [[r[key] for key in sources] for r in one]
    one, two = (project.records(run, "heldout")[-1] for run in ("tiny", "two"))
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    one, two = (project.history(run) for run in ("tiny", "two"))
    assert (two.starts, two.updates, two.faults) == ((2,), 12, ())
    assert compare(one, two) == []


@pytest.mark.deep
def test_a_run_is_not_continued_as_another_one(
    project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    """A submitted job prints the message that test_refusals.py has in process."""
    refused = project.submit("training.seed=7")
    assert refused.returncode != 0
    message = "training.seed: the checkpoint to resume from has 0, this run 7"
    assert message in said(refused)
    config = json.loads(project.store.read_bytes("runs/tiny/model/config.json"))
    assert config["rope_parameters"]["rope_theta"] == 500_000


def test_the_dashboard_shows_the_train_run_and_the_data_operators(
    project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    def answer(path: str) -> dict:
        with urllib.request.urlopen(project.dashboard + path, timeout=60) as reply:
            return json.load(reply)

    runs = [r for r in answer("/api/train/v2/runs/v1")["train_runs"] if r["name"] == "tiny"]
    assert "FINISHED" in {run["status"] for run in runs}
    first = min(runs, key=lambda run: run["start_time_ns"])
    assert "manifests" not in str(first["run_settings"]), "a whole job is no setting to show"
    datasets = answer(f"/api/data/datasets/{first['job_id']}")["datasets"]
    (stream,) = [dataset for dataset in datasets if dataset["dataset"].startswith("train")]
    assert stream["progress"] == 1, "all updates of so small a run travel as one item"
    assert "ReadGroups" in "".join(operator["name"] for operator in stream["operators"])


def test_a_mistake_in_the_recipe_ends_it_with_status_2(project: Project) -> None:
    mistake = "trainning.seed=1"
    command = [sys.executable, "jobs/pretrain.py", str(project.recipe), mistake, "--validate"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "the nearest known key is training" in done.stderr
    assert "Traceback" not in done.stderr


def test_validation_starts_neither_ray_nor_torch(project: Project) -> None:
    code = (
        "import sys; sys.argv = ['pretrain.py', sys.argv[1], '--validate'];"
        "import runpy; sys.path.insert(0, 'jobs')\n"
        "try: runpy.run_path('jobs/pretrain.py', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "assert not {'ray', 'torch', 'transformers', 'deepspeed'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(project.recipe)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_plan_says_what_every_source_repeats(
    project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    command = [sys.executable, "jobs/pretrain.py", str(project.recipe), "--plan"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "repeats" in done.stdout
    assert re.search(r"short +30.00% +1 .* x", done.stdout)
    assert yaml.safe_load(project.recipe.read_text())["name"] in done.stdout
