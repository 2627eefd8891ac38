"""A small project to run jobs on: real text in three formats, and a recipe for the tiny model."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from longspan.history.check import Finding, check
from longspan.history.starts import read_history
from longspan.observe.metrics import read_metrics
from longspan.storage import Store

ROOT = Path(__file__).parents[2]
LIBRARY = Path(sysconfig.get_path("stdlib"))


def write_corpora(store: Path, long_files: int = 40) -> None:
    """The interpreter's own sources: long text files (40 at most), one-paragraph JSON lines, Parquet rows."""
    for folder in ("long", "short", "code"):
        (store / "corpora" / folder).mkdir(parents=True)
    modules = sorted(LIBRARY.glob("*.py"), key=lambda path: path.name)[:90]
    sources = [path.read_text(encoding="utf-8") for path in modules]
    for path, text in zip(modules[:long_files], sources[:long_files], strict=True):
        (store / "corpora" / "long" / f"{path.stem}.txt").write_text(text)
    paragraphs = [part for text in sources[40:60] for part in text.split("\n\n") if len(part) > 80]
    lines = "".join(json.dumps({"text": part}) + "\n" for part in paragraphs)
    with pa.output_stream(str(store / "corpora" / "short" / "part.jsonl.gz")) as file:
        file.write(lines.encode())
    pq.write_table(pa.table({"text": sources[60:]}), store / "corpora" / "code" / "part.parquet")


def write_recipe(path: Path, store: Store, model: Path) -> None:
    """Twelve updates, a length switch, a checkpoint in the middle."""
    recipe = {
        "name": "tiny",
        "base_model": str(model),
        "document_separator": "<|endoftext|>",
        "target_context": 512,
        "lengths": [{"length": 64, "until": 0.5}, {"length": 128}],
        "corpora": [
            {"name": "long", "path": "corpora/long/*.txt", "weight": 0.5},
            {"name": "short", "path": "corpora/short", "weight": 0.3},
            {"name": "code", "path": ["corpora/code/part.parquet"], "weight": 0.2},
        ],
        "heldout": {"fraction": 0.2, "rows_per_source": 2, "every": 6},
        "training": {
            "tokens": 6144,
            "tokens_per_update": 512,
            "checkpoint_every": 5,
            "precision": "fp32",  # for comparisons that hold on every processor
        },
        "optimizer": {"learning_rate": 1e-3, "warmup_updates": 2},
        "workers": {"min": 1, "max": 1, "cpus_per_worker": 1},
        "storage": {"root": store.root, "endpoint": store.endpoint},
    }
    path.write_text(yaml.safe_dump(recipe))


class Project:
    """A folder with a store and a recipe, and the cluster that its jobs run on."""

    def __init__(self, folder: Path, model: Path, dashboard: str, long_files: int = 40) -> None:
        self.folder, self.model, self.dashboard = folder, model, dashboard
        self.store = Store(str(folder / "store"))
        self.recipe, self.pipeline = folder / "recipe.yaml", folder / "pipeline.yaml"
        write_corpora(folder / "store", long_files)
        write_recipe(self.recipe, self.store, model)

    def submit(
        self,
        *overrides: str,
        job: str = "pretrain",
        options: tuple[str, ...] = (),
        recipe: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """`ray job submit -- python jobs/JOB.py recipe overrides`, typed in the checkout."""
        entrypoint = ["python", f"jobs/{job}.py", str(recipe or self.recipe), *overrides]
        command = ["ray", "job", "submit", "--address", self.dashboard, *options, "--", *entrypoint]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)

    def run(
        self, *overrides: str, job: str = "pretrain", recipe: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same without Ray's job server: a driver of its own on the cluster, which takes less time."""
        import ray

        address = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
        command = [sys.executable, f"jobs/{job}.py", str(recipe or self.recipe), *overrides]
        environment = os.environ | address
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400
        )

    def records(self, run: str, kind: str) -> list[dict[str, Any]]:
        """A run's metrics of one kind."""
        return [r for r in read_metrics(self.store, f"runs/{run}/metrics") if r["kind"] == kind]

    def history(self, run: str) -> Finding:
        """What the record of a run's rows comes to."""
        return check(read_history(Store(f"{self.store.root}/runs/{run}")))


def said(done: subprocess.CompletedProcess[str]) -> str:
    """All that a job printed."""
    return done.stdout + done.stderr
