"""Supervised finetuning as its user runs it: short conversations packed, long ones a row each."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import yaml

from longspan.samples import chat
from longspan.storage import Store
from tests.jobs.project import ROOT, Project

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]

LENGTH = 512
Sft = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def sft_recipe(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, and the conversations that it names."""
    corpora = Path(project.store.root) / "corpora"
    (corpora / "chat").mkdir()
    chat.write(chat.documents(names=["textwrap", "shutil", "random"]), corpora / "chat")
    (corpora / "examples").mkdir()
    pq.write_table(pa.Table.from_pylist(long_examples(24)), corpora / "examples" / "part.parquet")
    recipe = tmp_path_factory.mktemp("sft") / "sft.yaml"
    recipe.write_text(
        yaml.safe_dump(
            {
                "name": "chat",
                "base_model": str(project.model),
                "target_context": LENGTH,
                "corpora": [
                    {"name": "chat", "path": "corpora/chat"},
                    {"name": "long", "path": "corpora/examples", "pack": False, "prompt_loss": 0.5},
                    {"name": "text", "path": "corpora/short", "format": "jsonl", "weight": 0.2},
                ],
                "heldout": {"fraction": 0.15, "rows_per_source": 2},
                "training": {"tokens_per_update": 4 * LENGTH, "precision": "fp32", "epochs": 1},
                "optimizer": {"learning_rate": 1e-3, "warmup_updates": 1},
                "workers": {"min": 1, "max": 1, "cpus_per_worker": 1},
                "storage": {"root": project.store.root},
            }
        )
    )
    return recipe


@pytest.fixture(scope="module")
def sft(sft_recipe: Path) -> Sft:
    """`python jobs/sft.py recipe overrides`, on the tests' Ray."""

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "jobs/sft.py", str(sft_recipe), *overrides],
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address},
            capture_output=True,
            text=True,
            timeout=400,
        )

    return run


def long_examples(count: int) -> list[dict]:
    """What self-instruct gives: a document with a question at its end, and an answer."""
    return [
        {
            "messages": [
                {
                    "role": "user",
                    "content": f"{number}. " + "The keeper counted the ships. " * 40 + "How many?",
                },
                {"role": "assistant", "content": f"{number} ships."},
            ],
            "document": f"{number}.txt",
        }
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def finished(sft: Sft) -> subprocess.CompletedProcess[str]:
    return sft()


def test_an_epoch_is_every_example_once(
    project: Project, finished: subprocess.CompletedProcess[str]
) -> None:
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-2000:]
    history = project.history("chat")
    assert history.faults == ()
    updates = project.records("chat", "update")
    manifest = json.loads(Store(project.store.root).read_bytes("shards/long/manifest.json"))
    alone = sum(block[1] for shard in manifest["train"] for block in shard["blocks"])
    long_rows = sum(record["source_tokens.long"] for record in updates) / LENGTH
    # The last update is completed with rows of the next epoch.
    assert alone <= long_rows <= alone + 3
    rows = sum(record["tokens"] for record in updates) / LENGTH
    text_rows = sum(record["source_tokens.text"] for record in updates) / LENGTH
    assert text_rows == pytest.approx(0.2 * rows, abs=1)


def test_it_ends_with_a_better_model_that_keeps_its_template(
    project: Project, finished: subprocess.CompletedProcess[str]
) -> None:
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-2000:]
    losses = [record["loss"] for record in project.records("chat", "heldout")]
    assert losses[-1] < losses[0]
    exported = Path(project.store.root) / "runs" / "chat" / "model"
    assert "<|im_start|>" in (exported / "chat_template.jinja").read_text()
    config = json.loads((exported / "config.json").read_text())
    assert config["max_position_embeddings"] == LENGTH


def test_other_weights_are_another_run(
    finished: subprocess.CompletedProcess[str], sft: Sft
) -> None:
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-2000:]
    other = sft("corpora.long.prompt_loss=0")
    assert other.returncode == 2
    assert "prompt_loss of corpora" in other.stderr and "long 0.5" in other.stderr


def test_torchrun_goes_on_with_it(
    finished: subprocess.CompletedProcess[str], sft_recipe: Path
) -> None:
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-2000:]
    command = [sys.executable, "-m", "longspan.train.standalone", "--sft", str(sft_recipe)]
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout[-4000:] + again.stderr[-2000:]
    assert "resumed at update" in again.stdout


def test_a_conversation_longer_than_a_row_stops_the_job_unless_it_is_left_out(sft: Sft) -> None:
    stopped = sft("name=short-rows", "target_context=256")
    assert stopped.returncode == 2
    assert "error: corpora.long: " in stopped.stderr
    assert "longer than a row of 256 tokens" in stopped.stderr
    assert "max_tokens=256" in stopped.stderr
    assert "Traceback" not in stopped.stderr


def test_a_row_that_is_no_conversation_stops_the_job_by_its_place(
    project: Project, sft: Sft
) -> None:
    bad = Path(project.store.root) / "corpora" / "chat" / "zz.jsonl"
    bad.write_text('{"messages": [{"role": "user", "content": "Hi"}]}\n')
    try:
        stopped = sft("name=bad-chat")
    finally:
        bad.unlink()
    assert stopped.returncode == 2
    assert "corpora/chat/zz.jsonl, line 1: no assistant turn" in stopped.stderr
