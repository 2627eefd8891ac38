"""Supervised finetuning as its user runs it: short conversations packed, long ones a row each."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from longspan.storage import Store
from tests.jobs.conversations import LENGTH, write_conversations, write_sft_recipe
from tests.jobs.project import ROOT, Project

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]

Sft = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def sft_recipe(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, and the conversations that it names."""
    write_conversations(Path(project.store.root) / "corpora")
    return write_sft_recipe(tmp_path_factory.mktemp("sft") / "sft.yaml", project)


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


def test_torchrun_goes_on_with_it(
    finished: subprocess.CompletedProcess[str], sft_recipe: Path
) -> None:
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-2000:]
    command = [sys.executable, "-m", "longspan.train.standalone", "--sft", str(sft_recipe)]
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout[-4000:] + again.stderr[-2000:]
    assert "resumed at update" in again.stdout
