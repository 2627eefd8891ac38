"""A whole pipeline: pretraining, self-instruct at an endpoint, finetuning, and a model that is served and answers."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from longspan.evaluate.report.load import load_results
from longspan.model.positions import Positions
from longspan.pipeline.run import SKIPPED
from longspan.runtime import console
from longspan.samples import chat
from tests.in_process import main_of
from tests.instruct.server import MODEL, serving
from tests.instruct.texts import story
from tests.jobs.project import Project
from tests.jobs.served import ask, model_served, server, speaks_as_transformers_says

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

WINDOW = 512
"""Window of the pretrained model."""
BASE = Positions("none", 10_000.0, 1.0, 256)
"""Those of the base model."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving() as found:
        yield found.url


@pytest.fixture(scope="module")
def pipeline(project: Project, first_run: subprocess.CompletedProcess[str], endpoint: str) -> str:
    """The pipeline that has ended its pretraining, with all other stages: its path."""
    corpora = project.folder / "store" / "corpora"
    for name in ("stories", "questions"):
        (corpora / name).mkdir()
    for number in range(12):
        (corpora / "stories" / f"{number}.txt").write_text(story(number, 20))
    names = ["textwrap", "random", "shutil", "statistics"]
    chat.write(chat.documents(names=names), corpora / "questions")
    stories = {"name": "stories", "path": "corpora/stories"}
    recipes: dict[str, dict[str, Any]] = {
        "examples": {
            "target_context": WINDOW,
            "tokenizer": str(project.model),
            "generator": {"endpoint": {"url": endpoint, "model": MODEL}},
            "corpora": [stories],
            "chunk_tokens": 100,
        },
        "assistant": {
            "target_context": WINDOW,
            "base_model": "runs/tiny/model",
            "corpora": [
                {"name": "questions", "path": "corpora/questions"},
                {"name": "examples", "path": "instruct/examples/examples", "pack": False},
            ],
            "heldout": {"fraction": 0.3, "rows_per_source": 1},
            "training": {"tokens_per_update": 8 * WINDOW, "precision": "fp32", "epochs": 1},
            "optimizer": {"learning_rate": 1e-3, "warmup_updates": 1},
            "workers": {"min": 1, "max": 1, "cpus_per_worker": 1},
        },
        # Losses alone: they need no engine, and the verdict is there all the same.
        "probe": {
            "model": "set by the pipeline",
            "corpora": [stories | {"heldout_fraction": 0.3}],
            "probes": {"tasks": []},
            "losses": {"documents": 2, "places": 1, "targets": 8, "shortest_context": 16},
        },
    }
    for name, recipe in recipes.items():
        common = {"name": name, "storage": {"root": project.store.root}}
        (project.folder / f"{name}.yaml").write_text(yaml.safe_dump(common | recipe))
    stages: dict[str, Any] = yaml.safe_load(project.pipeline.read_text())
    stages |= {
        "self_instruct": {"recipe": "examples.yaml"},
        "sft": {"recipe": "assistant.yaml"},
        "evaluate": {"recipe": "probe.yaml", "after": ["pretrain"], "stop_on": "never"},
    }
    project.pipeline.write_text(yaml.safe_dump(stages))
    return str(project.pipeline)


def states(text: str) -> list[str]:
    """What became of each stage, in order."""
    parts = re.split(r"^== \d of 4: ", text, flags=re.MULTILINE)[1:]
    return ["skipped" if SKIPPED in part else "run" for part in parts]


def test_a_chat_model_comes_out_and_answers(
    project: Project,
    first_run: subprocess.CompletedProcess[str],
    pipeline: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The pretrained model is evaluated, and finetuned on conversations and on examples about documents."""
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)

    def run(*options: str) -> str:
        """Run the pipeline, whose stages are processes of their own; returns what it printed."""
        status = console.run(main_of("pipeline"), [pipeline, *options])
        said = capfd.readouterr()
        assert status == 0, said.out[-6000:] + said.err[-2000:]
        return said.out

    assert run("--plan").count("to be run") == 3
    said = run()
    assert states(said) == ["skipped", "run", "run", "run"]
    store = project.store
    assert store.exists("runs/assistant/model/model.safetensors")
    results = load_results(store, "evaluate/tiny-pretrain")
    assert results.model.window == results.model.model_window == WINDOW
    assert results.reference is not None
    assert (results.reference.window, results.provenance.base_window) == (256, 256)
    assert results.verdict is not None and results.verdict.status != "pass"
    assert results.comparison is not None and results.comparison.loss_changes
    assert store.exists("evaluate/tiny-pretrain/report.html")
    assert states(run()) == ["skipped"] * 4

    (pretrained,) = next_commands(first_run.stdout)
    (command,) = next_commands(said)
    assert pretrained.replace("/runs/tiny/model", "/runs/assistant/model") == command
    assert shlex.split(command)[-1] == str(WINDOW)
    log = tmp_path / "server.log"
    with server(command, log) as address:
        question = {"role": "user", "content": "What does the function random.seed do?"}
        name = model_served(address, log)
        body = {"model": name, "messages": [question], "max_tokens": 8}
        reply = ask(address, "/v1/chat/completions", body)
        speaks_as_transformers_says(address, name, f"{store.root}/runs/assistant/model", BASE)
    assert reply["usage"]["completion_tokens"] > 0
    assert reply["choices"][0]["message"]["role"] == "assistant"


def next_commands(text: str) -> list[str]:
    """Commands that runs print to serve their models."""
    return re.findall(r"^Next: +(.*)$", text, re.MULTILINE)


def test_a_stage_that_fails_ends_the_pipeline_with_its_message(
    pipeline: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mistake = ["pretrain.name=other", "pretrain.corpora.long.path=corpora/nothing"]
    assert console.run(main_of("pipeline"), [pipeline, *mistake]) == 2
    said = capsys.readouterr().err
    assert "corpora.long.path" in said
    assert "Traceback" not in said
