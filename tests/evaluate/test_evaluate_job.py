"""`jobs/evaluate.py` as a user runs it, at an endpoint: from documents to a verdict, a report and a comparison."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from longspan.evaluate.report.load import load_results, load_samples
from longspan.storage import Store
from tests.instruct.texts import story
from tests.jobs.project import ROOT
from tests.openai_server import Body, Completion, OpenAIServer
from tests.tiny import make_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(300)]

WINDOW = 1024
TASK = "ruler_niah_single_1"
NEEDLE = re.compile(r"One special number for \S+ is (\d{7})")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer with its model's config, stories, and a recipe that asks for needles alone."""
    folder = tmp_path_factory.mktemp("evaluation")
    make_tiny_model(folder / "model", window=WINDOW)
    store = folder / "store"
    (store / "corpora" / "stories").mkdir(parents=True)
    for number in range(8):
        (store / "corpora" / "stories" / f"{number}.txt").write_text(story(number, 20))
    recipe: dict[str, Any] = {
        "name": "perfect",
        "model": str(folder / "model"),
        "template": "none",
        "corpora": [{"name": "stories", "path": "corpora/stories", "heldout_fraction": 0.5}],
        "probes": {"tasks": [TASK], "lengths": [512, WINDOW], "samples": 40, "depths": 4},
        "losses": {"documents": 0},
        "gate": {"required": ["recall"]},
        "storage": {"root": str(store)},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def run(ray_session: str) -> Run:
    """`python jobs/evaluate.py` with some arguments."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "jobs/evaluate.py", *arguments],
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address},
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


def server(folder: Path, sees: int) -> OpenAIServer:
    """A model that finds the needle if it is among the last tokens that it sees."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        folder / "model", local_files_only=True, trust_remote_code=False
    )

    def answer(body: Body) -> Completion:
        seen = tokenizer.decode(body["prompt"][-sees:])
        return Completion(" ".join(NEEDLE.findall(seen)) or "none", "stop", len(body["prompt"]), 5)

    return OpenAIServer("fake", answer, window=WINDOW)


def test_a_verdict_a_report_and_a_comparison(folder: Path, run: Run) -> None:
    recipe, store = str(folder / "recipe.yaml"), Store(str(folder / "store"))
    with server(folder, WINDOW) as perfect, server(folder, 200) as short_sighted:
        endpoint = "endpoint={{url: {}, model: fake}}"
        first = run(recipe, endpoint.format(perfect.url))
        assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
        asked = perfect.requests
        again = run(recipe, endpoint.format(perfect.url))
        assert again.returncode == 0 and perfect.requests - asked <= 3, (
            "only its models and its tokenizer are asked"
        )
        other = run(recipe, endpoint.format(short_sighted.url), "name=short")
        assert other.returncode == 3, other.stdout[-3000:] + other.stderr[-3000:]
    results, worse = (load_results(store, f"evaluate/{name}") for name in ("perfect", "short"))
    assert [cell.score.value for cell in results.tasks[0].cells if cell.score] == [1.0] * 10
    assert results.tasks[0].effective_length == WINDOW
    assert worse.tasks[0].effective_length is None
    # Places are at 0, 1/3, 2/3 and the end of the context; 200 tokens reach back to the last, or the last two.
    scores = {
        (cell.length, cell.depth): cell.score.value for cell in worse.tasks[0].cells if cell.score
    }
    assert scores[512, 1.0] == scores[WINDOW, 1.0] == 1
    assert scores[512, 0.0] == scores[WINDOW, 0.0] == 0
    assert len(load_samples(store, "evaluate/short")[TASK]) == 80
    assert b"special number" in store.read_bytes("evaluate/short/report.html")

    compared = run("compare", "evaluate/short", "evaluate/perfect", "--root", store.root)
    assert compared.returncode == 0, compared.stderr
    assert re.search(rf"^{TASK} +1K .* worse ", compared.stdout, re.MULTILINE), compared.stdout


def test_a_window_that_the_endpoint_does_not_have_is_refused_before_anything_starts(
    folder: Path, run: Run
) -> None:
    with server(folder, WINDOW) as smaller:
        smaller.window = 600
        done = run(
            str(folder / "recipe.yaml"),
            f"endpoint={{url: {smaller.url}, model: fake}}",
            "--validate",
        )
    assert done.returncode == 2
    assert "window" in done.stderr and "600" in done.stderr
