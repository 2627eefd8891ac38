"""A whole pipeline: pretraining, self-instruct at an endpoint, finetuning, and a model that is served and answers."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from longspan.evaluate.report.load import load_results
from longspan.model.positions import Positions
from longspan.pipeline.run import SKIPPED
from longspan.run import console
from longspan.samples import chat
from longspan.storage import Store
from tests.in_process import main_of
from tests.instruct.server import MODEL, serving
from tests.instruct.texts import story
from tests.jobs.project import ROOT
from tests.jobs.served import ask, model_served, server, speaks_as_transformers_says
from tests.tiny import make_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

WINDOW = 1024
BASE = Positions("none", 10_000.0, 1.0, 256)
"""Those of the base model."""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, stories and conversations, and recipes for each stage."""
    folder = tmp_path_factory.mktemp("pipeline")
    model = make_tiny_model(folder / "base", tied=False)
    store = folder / "store"
    for name in ("stories", "chat"):
        (store / "corpora" / name).mkdir(parents=True)
    for number in range(12):
        (store / "corpora" / "stories" / f"{number}.txt").write_text(story(number, 20))
    chat.write(
        chat.documents(names=["textwrap", "random", "shutil", "statistics"]),
        store / "corpora" / "chat",
    )
    common = {"storage": {"root": str(store)}, "target_context": WINDOW}
    training = {
        "heldout": {"fraction": 0.3, "rows_per_source": 1},
        "workers": {"min": 1, "max": 1, "cpus_per_worker": 1},
        "optimizer": {"learning_rate": 1e-3, "warmup_updates": 1},
    }
    stories = {"name": "stories", "path": "corpora/stories"}
    recipes: dict[str, dict[str, Any]] = {
        "long": common
        | training
        | {
            "base_model": str(model),
            "document_separator": "<|endoftext|>",
            "lengths": 256,
            "corpora": [stories | {"weight": 1}],
            "training": {"tokens": 4096, "tokens_per_update": 1024, "precision": "fp32"},
        },
        "instruct": common
        | {
            "tokenizer": str(model),
            "generator": {"endpoint": {"url": "http://127.0.0.1:1/v1", "model": MODEL}},
            "corpora": [stories],
            "chunk_tokens": 300,
        },
        "chat": common
        | training
        | {
            "base_model": f"{store}/runs/long/model",
            "corpora": [
                {"name": "chat", "path": "corpora/chat"},
                {"name": "long", "path": "instruct/instruct/examples", "pack": False},
            ],
            "training": {"tokens_per_update": 4 * WINDOW, "precision": "fp32", "epochs": 1},
        },
    }
    # Losses alone: they need no engine, and the verdict is there all the same.
    recipes["probe"] = {
        "model": "set by the pipeline",
        "storage": common["storage"],
        "corpora": [stories | {"heldout_fraction": 0.3}],
        "probes": {"tasks": []},
        "losses": {"documents": 2, "places": 1, "targets": 8, "shortest_context": 16},
    }
    for name, recipe in recipes.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe | {"name": name}))
    stages = {"pretrain": "long", "self_instruct": "instruct", "sft": "chat"}
    pipeline: dict[str, Any] = {stage: {"recipe": f"{name}.yaml"} for stage, name in stages.items()}
    pipeline["evaluate"] = {"recipe": "probe.yaml", "stop_on": "never"}
    (folder / "pipeline.yaml").write_text(yaml.safe_dump({"name": "pipe"} | pipeline))
    return folder


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving() as found:
        yield found.url


@pytest.fixture(scope="module")
def run(folder: Path, endpoint: str, ray_session: str) -> Run:
    """`python jobs/pipeline.py pipeline.yaml overrides`."""

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "jobs/pipeline.py", str(folder / "pipeline.yaml"), *overrides]
        command.append(f"self_instruct.generator.endpoint.url={endpoint}")
        return subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address},
            capture_output=True,
            text=True,
            timeout=1200,
        )

    return run


def states(text: str) -> list[str]:
    """What became of each stage, in order."""
    parts = re.split(r"^== \d of 5: ", text, flags=re.MULTILINE)[1:]
    return ["skipped" if SKIPPED in part else "run" for part in parts]


def test_a_chat_model_comes_out_and_answers(folder: Path, run: Run, tmp_path: Path) -> None:
    plan = run("--plan")
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.count("to be run") == 5

    first = run()
    assert first.returncode == 0, first.stdout[-6000:] + first.stderr[-2000:]
    assert states(first.stdout) == ["run"] * 5
    store = Store(str(folder / "store"))
    assert store.exists("runs/chat/model/model.safetensors")
    for stage, window, base in (("pretrain", WINDOW, 256), ("sft", WINDOW, WINDOW)):
        results = load_results(store, f"evaluate/pipe-{stage}")
        assert results.model.window == results.model.model_window == window
        assert results.reference is not None
        assert (results.reference.window, results.provenance.base_window) == (base, base)
        assert results.verdict is not None and results.verdict.status != "pass"
        assert results.comparison is not None and results.comparison.loss_changes
        assert store.exists(f"evaluate/pipe-{stage}/report.html")

    again = run()
    assert again.returncode == 0, again.stdout[-4000:] + again.stderr[-2000:]
    assert states(again.stdout) == ["skipped"] * 5

    pretrained, command = re.findall(r"^Next: +(.*)$", first.stdout, re.MULTILINE)
    assert pretrained.replace("/runs/long/model", "/runs/chat/model") == command
    assert shlex.split(command)[-1] == str(WINDOW)
    log = tmp_path / "server.log"
    with server(command, log) as address:
        question = {"role": "user", "content": "What does the function random.seed do?"}
        name = model_served(address, log)
        body = {"model": name, "messages": [question], "max_tokens": 8}
        reply = ask(address, "/v1/chat/completions", body)
        speaks_as_transformers_says(address, name, f"{folder}/store/runs/chat/model", BASE)
    assert reply["usage"]["completion_tokens"] > 0
    assert reply["choices"][0]["message"]["role"] == "assistant"


def test_a_stage_that_fails_ends_the_pipeline_with_its_message(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mistake = ["pretrain.name=other", "pretrain.corpora.stories.path=corpora/nothing"]
    assert console.run(main_of("pipeline"), [str(folder / "pipeline.yaml"), *mistake]) == 2
    said = capsys.readouterr().err
    assert "corpora.stories.path" in said
    assert "Traceback" not in said
