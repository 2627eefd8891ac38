"""The whole job with an endpoint as its generator: what comes out, and what a killed one repeats."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from longspan.corpus.example_sets import require_no_heldout
from longspan.errors import UserError, user_error_in
from longspan.evaluate.probes.pairs import load_pairs
from longspan.generate.tables import each_row, read_table
from longspan.ingest.objects import heldout_scores
from longspan.instruct.job import run
from longspan.instruct.outcome import read_manifest
from longspan.instruct.tables import EXAMPLES
from longspan.storage import Store
from tests.fault_proxy import FaultProxy, Faults
from tests.instruct.project import WINDOW, Project, end_of, until
from tests.instruct.server import MODEL, Server, request_hash, serving
from tests.s3 import OWNER, S3Server
from tests.tiny import make_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.deep]
FAULTS = Faults(slow_down=0.1, reset=0.1)
KEY = "a-key-that-nobody-may-see"


def endpoint(server: Server, **values: object) -> str:
    facts = {"url": server.url, "model": MODEL, "key_variable": "STORY_API_KEY", "retries": 1}
    return f"generator.endpoint={json.dumps(facts | values)}"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORY_API_KEY", KEY)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, ray_session: str) -> Project:
    folder = tmp_path_factory.mktemp("instruct")
    make_tiny_model(folder / "tokenizer")
    recipe = {
        "tokenizer": str(folder / "tokenizer"),
        "generator": {
            "endpoint": {"url": "http://127.0.0.1:1/v1", "model": MODEL},
            "max_tokens": 64,
        },
        "chunk_tokens": 200,
        "chunks_per_document": 3,
        "questions_per_chunk": 2,
        "near_duplicates": 0.95,
    }
    return Project(folder, recipe, documents=12, paragraphs=60)


@pytest.fixture(scope="module")
def done(project: Project) -> Iterator[tuple[Project, Server, str]]:
    """A whole run: the project, the server with what it was asked, the output."""
    with serving(KEY) as server:
        status, output = project.run(endpoint(server), STORY_API_KEY=KEY)
        assert status == 0, output
        yield project, server, output


def test_examples_come_out_with_their_provenance(done: tuple[Project, Server, str]) -> None:
    project, _, output = done
    manifest = project.manifest()
    files = [read_table(project.store, file["path"]) for file in manifest["files"]]
    assert all(table.schema.equals(EXAMPLES) for table in files)
    rows = [row for table in files for row in table.to_pylist()]
    assert len(rows) == manifest["examples"] > 30
    assert len({row["id"] for row in rows}) == len(rows)
    texts: dict[str, str] = {}
    for item in project.store.list("instruct/x/documents/*.parquet"):
        texts |= {row["id"]: row["text"] for row in each_row(project.store, item.path)}
    for row in rows:
        chunk = texts[row["document"]][row["chunk_span"]["start"] : row["chunk_span"]["end"]]
        user, assistant = (turn["content"] for turn in row["messages"])
        assert chunk in user and row["tokens"] <= WINDOW
        assert user.endswith(row["question"])
        # The server asks for what a paragraph of the chunk says: the answer is in the chunk.
        name, house = user.rpartition("What did ")[2].rstrip("?").split(" keep in house ")
        thing = assistant.removeprefix("A ").rstrip(".")
        assert f"{name} kept a {thing} in house {house}." in chunk
        assert row["score"] == 5 and row["correct"] and row["generator"].startswith(MODEL)
    assert {"normal", "short"} == {row["style"] for row in rows}
    assert max(row["position"] for row in rows) > 0.5 > min(row["position"] for row in rows)
    assert manifest["generator"] == MODEL and manifest["splits"] == {}
    assert rows[0]["generator"] == f"{MODEL} ({manifest['generator_identity'][:8]})"
    assert manifest["documents"]["taken"] == 14
    assert manifest["documents"]["empty"] == 3 and manifest["documents"]["not UTF-8"] == 1
    assert f"Examples:  {project.store.uri('instruct/x/examples')}" in output


def test_a_set_about_held_out_documents_is_for_evaluation_alone(
    done: tuple[Project, Server, str],
) -> None:
    project, server, _ = done
    source = {"name": "stories", "path": "raw", "split": "heldout", "heldout_fraction": 0.6}
    changes = ["name=held", f"corpora={json.dumps([source])}"]
    status, output = project.run(endpoint(server), *changes, STORY_API_KEY=KEY)
    assert status == 0, output
    pairs = load_pairs(project.store, "held", {"stories": 0.6}, 1000)
    assert len(pairs.pairs) > 5
    texts = {pair.document: pairs.documents[pair.document].text for pair in pairs.pairs}
    assert float(heldout_scores(list(texts.values())).max()) < 0.6
    for pair in pairs.pairs:
        thing = pair.answer.removeprefix("A ").rstrip(".")
        assert f"kept a {thing} in" in texts[pair.document][slice(*pair.chunk)]
    examples = [item.path for item in project.store.list("instruct/held/examples/*")]
    with pytest.raises(
        UserError, match=r"corpora\.qa\.path: instruct/held/examples asks about held"
    ):
        require_no_heldout(project.store, "qa", examples)


def test_the_report_counts_everything(done: tuple[Project, Server, str]) -> None:
    project, _, output = done
    manifest, report = project.manifest(), project.store.read_bytes("instruct/x/report.md").decode()
    rejects = manifest["rejects"]
    assert manifest["asked"] == manifest["examples"] + sum(
        n for c in rejects.values() for n in c.values()
    )
    assert rejects["replies"]["no <question>"] > 0
    assert sum(n for why, n in rejects["replies"].items() if why.startswith("refused by")) == 2
    assert rejects["critique"]["judged not correct"] > 0
    assert report.count("\n> What did ") + report.count("\n> Question: What did ") == 10
    assert "chunk begins at" in report and "chunk begins at" in output
    assert "questions: " in output and " tok/s" in output


def test_the_key_is_nowhere(done: tuple[Project, Server, str]) -> None:
    project, _, output = done
    assert KEY not in output
    for item in project.store.list("instruct"):
        assert KEY.encode() not in project.store.read_bytes(item.path)


def test_examples_made_on_a_bad_s3_are_those_of_a_folder(
    done: tuple[Project, Server, str], s3_server: S3Server
) -> None:
    project, _, _ = done
    root = f"s3://{s3_server.bucket}/instructed"
    store = Store(root, endpoint=s3_server.endpoint)
    store.upload(Path(project.store.root) / "raw", "raw")
    with serving(KEY) as server, FaultProxy(s3_server.endpoint, FAULTS, 1).running() as proxy:
        where = (f"storage.root={root}", f"storage.endpoint={proxy.endpoint}")
        status, output = project.run(endpoint(server), *where, STORY_API_KEY=KEY)
    assert status == 0, output
    assert proxy.injected.keys() >= {"slow_down", "reset"}, proxy.injected
    made = [read_ids(store, "instruct/x"), read_ids(project.store, "instruct/x")]
    assert made[0] == made[1]
    for item in store.list("instruct"):
        assert OWNER.secret.encode() not in store.read_bytes(item.path)
    assert OWNER.secret not in output


def read_ids(store: Store, folder: str) -> set[str]:
    manifest = read_manifest(store, f"{folder}/manifest.json")
    assert manifest is not None
    tables = [read_table(store, file["path"], ["id"]) for file in manifest["files"]]
    return {id for table in tables for id in table.column("id").to_pylist()}


def test_the_same_again_asks_nothing(done: tuple[Project, Server, str]) -> None:
    project, server, _ = done
    before, asked = project.manifest(), len(server.asked)
    said: list[str] = []
    assert run(project.prepared(endpoint(server)), said.append) is None
    assert f"{before['examples']} examples are there" in said[-1]
    assert (project.manifest(), len(server.asked)) == (before, asked)
    # A milder critique is a matter of the verdicts that are there.
    milder = project.prepared(endpoint(server), "critique.require=[answerable]")
    assert run(milder, said.append) is None and len(server.asked) == asked
    assert project.manifest()["examples"] > before["examples"]


def test_a_killed_job_goes_on_without_repeating(project: Project, done: Any) -> None:
    with serving(KEY, seconds=0.4) as server:
        overrides = (endpoint(server, requests=1), "name=killed", "seed=5")
        job = project.start(*overrides, STORY_API_KEY=KEY)
        folder = project.prepared(*overrides).replies_folder
        until(lambda: project.store.list(folder), 120)
        job.kill()
        end_of(job)
        time.sleep(1)  # What is on its way arrives.
        committed = _committed(project, project.prepared(*overrides))
        assert committed
        server.seconds = 0.0
        server.asked.clear()
        status, output = project.run(*overrides, STORY_API_KEY=KEY)
    assert status == 0, output
    assert not committed & set(server.asked)
    assert max(Counter(server.asked).values()) == 1


def _committed(project: Project, prepared: Any) -> set[str]:
    """Hashes of the requests whose replies are in the store."""
    ids = set()
    for item in project.store.list(f"{prepared.replies_folder}/*.parquet"):
        ids |= set(read_table(project.store, item.path, ["id"]).column("id").to_pylist())
    requests = {}
    for item in project.store.list(f"{prepared.folder}/documents/*.parquet"):
        documents = [row["id"] for row in each_row(project.store, item.path)]
        asked = {"path": item.path, "documents": json.dumps(documents)}
        for request in prepared.questions().requests(asked):
            requests[request.id] = request_hash(request.content, request.seed)
    return {requests[id] for id in ids}


def test_an_endpoint_that_stops_answering_ends_the_job(project: Project) -> None:
    with serving(KEY) as server:
        prepared = project.prepared(endpoint(server, retries=0), "name=busy")
        server.busy = 10_000
        with pytest.raises(UserError, match=r"got no answer .* re-run the same command to resume"):
            run(prepared)
        server.busy = 0
        assert run(prepared) is None


def test_bad_input_stops_where_it_is_told_to(project: Project) -> None:
    with serving(KEY) as server:
        with pytest.raises(UserError) as error:
            run(project.prepared(endpoint(server), "bad_input=stop", "name=stop"))
        assert "not UTF-8" in str(user_error_in(error.value)) and server.asked == []


def test_a_generator_of_rubbish_has_a_verdict(project: Project) -> None:
    with serving(KEY) as server:
        server.rubbish = True
        status, output = project.run(endpoint(server), "name=rubbish", STORY_API_KEY=KEY)
    assert status == 1, output
    asked = len(server.asked)
    assert f"error: 0 of {asked + 2} questions became examples (0.0%)" in output
    assert f"Most were lost at the stage 'replies': {asked + 2} (" in output
    assert "rejected (no <question>)" in output
    for name in ("manifest.json", "examples"):
        assert not project.store.exists(f"instruct/rubbish/{name}")
    assert b"**No data set.**" in project.store.read_bytes("instruct/rubbish/report.md")


def test_no_document_is_no_success(project: Project) -> None:
    with serving(KEY) as server:
        prepared = project.prepared(endpoint(server), "name=none", "corpora.0.path=raw/empty.txt")
        why = run(prepared)
    assert why == "there is nothing to ask about: no document was taken (empty 1)"
    assert not project.store.exists("instruct/none/manifest.json")
