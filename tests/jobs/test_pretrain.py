"""The pretraining job as its user runs it, on a real Ray with real DeepSpeed."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from longspan.observe.metrics import read_metrics
from longspan.storage import Store
from tests.conftest import ROOT
from tests.jobs.project import write_corpora, write_recipe

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


class Project:
    def __init__(self, folder: Path, model: Path, dashboard: str) -> None:
        self.folder, self.model, self.dashboard = folder, model, dashboard
        self.store = Store(str(folder / "store"))
        self.recipe = folder / "recipe.yaml"
        write_corpora(folder / "store")
        write_recipe(self.recipe, folder / "store", model)

    def submit(
        self, *overrides: str, options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """`ray job submit -- python jobs/pretrain.py recipe overrides`, typed in the checkout."""
        job = ["python", "jobs/pretrain.py", str(self.recipe), *overrides]
        command = ["ray", "job", "submit", "--address", self.dashboard, *options, "--", *job]
        return subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=400,
        )

    def records(self, run: str, kind: str) -> list[dict[str, Any]]:
        return [r for r in read_metrics(self.store, f"runs/{run}/metrics") if r["kind"] == kind]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, job_server: str) -> Project:
    return Project(tmp_path_factory.mktemp("project"), tiny_model, job_server)


@pytest.fixture(scope="module")
def first_run(project: Project) -> subprocess.CompletedProcess[str]:
    return project.submit()


def test_a_run_ends_with_a_better_model_and_says_where_it_is(
    project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    assert first_run.returncode == 0, first_run.stdout[-4000:] + first_run.stderr[-2000:]
    said = first_run.stdout
    ((before, after),) = re.findall(r"Held-out loss: +([\d.]+) -> ([\d.]+)", said)
    assert float(after) < float(before)
    for word in (
        "Checkpoint:",
        "Exported model:",
        "Metrics:",
        "loss-by-position.png",
        "vllm serve",
    ):
        assert word in said
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


def test_submitting_it_again_goes_on_where_it_ended(
    project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    again = project.submit(options=("--working-dir", "."))
    assert again.returncode == 0, again.stdout[-4000:] + again.stderr[-2000:]
    assert "resumed at update 12" in again.stdout
    assert again.stdout.count("all done") == 3, "nothing is ingested twice"
    assert len(project.records("tiny", "update")) == 12


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


def test_a_run_is_not_continued_over_other_data(
    project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    refused = project.submit("training.seed=7")
    assert refused.returncode != 0
    assert "name: the run to continue has another order of data" in refused.stdout + refused.stderr


def test_a_bad_object_stops_the_job_by_name(
    project: Project, first_run: subprocess.CompletedProcess[str]
) -> None:
    bad = project.folder / "store" / "corpora" / "long" / "zz-not-text.txt"
    bad.write_bytes(b"\xff\xfe broken \xff")
    try:
        stopped = project.submit("name=bad")
        assert stopped.returncode != 0
        assert "zz-not-text.txt" in stopped.stdout + stopped.stderr
        assert not project.store.exists("runs/bad/model")
    finally:
        bad.unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("trainning.seed=1", "the nearest known key is training"),
        ("corpora.long.path=corpora/lnog/*.txt", "corpora.long.path"),
        ("base_model=no/such", "base_model: there is no model"),
        ("document_separator=<|eot|>", "document_separator"),
    ],
)
def test_a_mistake_in_the_recipe_ends_it_with_status_2(
    project: Project, change: str, said: str
) -> None:
    command = [sys.executable, "jobs/pretrain.py", str(project.recipe), change, "--validate"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert said in done.stderr
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
