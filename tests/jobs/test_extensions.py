"""Whole runs with a position encoding, a corpus format, trackers and a callback from outside the package."""

import csv
import gzip
import json
import sys
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from longspan.config.locations import open_store
from longspan.extensions.point import ALLOWED
from longspan.observe.metrics import read_metrics
from longspan.recipe.load import load_training
from longspan.storage import Store
from longspan.train import standalone
from longspan.train.data.corpora import ingest_of
from tests.extensions.examples import write_modules
from tests.in_process import ingest
from tests.jobs.project import LIBRARY, Project, said, write_corpora, write_recipe
from tests.ranks import RankServer
from tests.tiny import make_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]

PACKAGE = "my_extensions"
BROKEN = """
class Broken:
    def __init__(self, run): ...
    def log(self, record): raise OSError("no network")
    def close(self): raise OSError("no network")
"""


def write_package(folder: Path) -> Path:
    """The examples of the documentation as a package, with a tracker that fails."""
    package = folder / PACKAGE
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "broken.py").write_text(BROKEN)
    write_modules(package)
    return package


def write_papers(store: Path) -> None:
    """An XML file of paragraphs of the interpreter's own sources."""
    folder = store / "corpora" / "papers"
    folder.mkdir()
    texts = [path.read_text(encoding="utf-8") for path in sorted(LIBRARY.glob("*.py"))[60:80]]
    parts = [escape(part) for text in texts for part in text.split("\n\n") if len(part) > 80]
    records = "".join(f"<paper><body>{part}</body></paper>" for part in parts if part.isascii())
    content = f"<papers>{records}</papers>".replace("\x0c", "")
    (folder / "papers.xml.gz").write_bytes(gzip.compress(content.encode()))


def overrides(tables: Path) -> list[str]:
    trackers = [
        {"name": f"{PACKAGE}.my_tracker:CsvTracker", "options": {"path": str(tables)}},
        f"{PACKAGE}.broken:Broken",
    ]
    callbacks = [{"name": f"{PACKAGE}.my_callback:ParameterNorm", "options": {"every": 4}}]
    return [
        "name=extended",
        f"positions.encoding={PACKAGE}.my_encoding:Llama3Scaling",
        "corpora.short.path=corpora/papers",
        f"corpora.short.format={PACKAGE}.my_format:XmlRecords",
        "corpora.short.format_options={element: paper}",
        "corpora.short.text_field=body",
        f"trackers={json.dumps(trackers)}",
        f"callbacks={json.dumps(callbacks)}",
    ]


def require_extended(store: Store, tables: Path, output: str) -> None:
    """The run has all of them in what it wrote."""
    assert "parameter norm: every 4 of 12 updates" in output
    config = json.loads(store.read_bytes("runs/extended/model/config.json"))
    assert config["rope_parameters"] == {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 2.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    }
    (table,) = tables.iterdir()
    with table.open() as file:
        rows = [(int(update), tag, float(value)) for update, tag, value in csv.reader(file)]
    records = read_metrics(store, "runs/extended/metrics")
    updates = [record for record in records if record["kind"] == "update"]
    losses = [(update, value) for update, tag, value in rows if tag == "train/loss"]
    assert losses == [(record["update"], record["loss"]) for record in updates]
    norms = {u: value for u, tag, value in rows if tag == "callback/parameter_norm"}
    assert list(norms) == [4, 8, 12]
    assert {
        record["update"]: record["callback.parameter_norm"]
        for record in updates
        if "callback.parameter_norm" in record
    } == norms
    assert sum(record["source_tokens.short"] for record in updates) > 0

    assert f"tracker {PACKAGE}.broken:Broken: a record was dropped (OSError: no network)" in output
    (dropped,) = [r for r in records if r.get("event") == "tracker_records_dropped"]
    assert dropped["tracker"] == f"{PACKAGE}.broken:Broken"
    assert dropped["records"] == len(records) - 1


def train(package: str, recipe: str, changes: list[str]) -> int:
    """Ingest and train in one process, with a package on its path as PYTHONPATH has it."""
    sys.path.insert(0, package)
    loaded = load_training(recipe, changes)
    ingest(ingest_of(loaded, open_store(loaded)))
    return standalone.main([recipe, *changes])


def test_a_run_uses_code_from_outside_the_package(ranks: RankServer, tmp_path: Path) -> None:
    package = write_package(tmp_path / "outside")
    store = Store(str(tmp_path / "store"))
    write_corpora(tmp_path / "store")
    write_papers(tmp_path / "store")
    write_recipe(tmp_path / "recipe.yaml", store, make_tiny_model(tmp_path / "base", tied=False))
    arguments = (str(package.parent), str(tmp_path / "recipe.yaml"), overrides(tmp_path / "tables"))
    refused = ranks.run(1, train, *arguments)
    assert refused.returncode != 0
    assert f"set {ALLOWED}={PACKAGE} in the environment of the job's driver" in refused.stderr
    done = ranks.run(1, train, *arguments, environment={ALLOWED: PACKAGE}, timeout_s=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    require_extended(store, tmp_path / "tables", done.stdout)


def test_code_that_is_shipped_with_a_job_runs_in_its_workers(
    project: Project, tmp_path: Path
) -> None:
    package = write_package(tmp_path / "outside")
    write_papers(project.folder / "store")
    shipped = {"py_modules": [str(package)], "env_vars": {ALLOWED: PACKAGE}}
    done = project.submit(
        *overrides(tmp_path / "tables"), options=("--runtime-env-json", json.dumps(shipped))
    )
    assert done.returncode == 0, said(done)[-4000:]
    require_extended(project.store, tmp_path / "tables", done.stdout)
