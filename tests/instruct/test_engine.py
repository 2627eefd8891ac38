"""The whole job with vLLM on the CPU: kills lose little, verdicts are constrained, a dying engine is given up."""

import json
from collections.abc import Container

import pytest

from longspan.corpus.resolve import resolve
from longspan.errors import UserError
from longspan.generate.parts import PartWriter, read_parts
from longspan.generate.requests import Reply
from longspan.instruct.choose import chosen
from longspan.instruct.documents import take
from longspan.instruct.job import run
from longspan.instruct.prepare import Prepared
from longspan.instruct.tables import REPLIES, VERDICTS
from longspan.instruct.verdicts import parse_verdict
from longspan.recipe.sources import source_specs
from tests.instruct.project import Project, end_of, engine_cores, until
from tests.instruct.texts import FACT
from tests.tiny import make_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]


NO_QUESTION = {"no <question>", "no question and answer in the JSON"}
"""What becomes of the letters of an untrained model, the latter where the first of them is a brace."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, ray_session: str) -> Project:
    folder = tmp_path_factory.mktemp("engine")
    make_tiny_model(folder / "model", window=2048, tied=False)
    recipe = {
        # Eight requests at a time: the others are still to come when the first ones are committed.
        "generator": {
            "model": str(folder / "model"),
            "max_tokens": 192,
            "batch": 8,
            "engine": {"max_num_seqs": 8},
        },
        "chunk_tokens": 200,
        "chunks_per_document": 4,
        "questions_per_chunk": 4,
        "critique": {"require": [], "min_score": 1},
    }
    return Project(folder, recipe, documents=24, paragraphs=60)


def test_kills_lose_little_verdicts_are_constrained_and_examples_come_out(
    project: Project,
) -> None:
    job = project.start()
    until(lambda: len(project.replies()) >= 8)
    for core in engine_cores():
        core.kill()
    # Ray starts the engine again, which is given what it had not finished.
    there = len(project.replies())
    until(lambda: len(project.replies()) > there)
    job.kill()
    _, output = end_of(job)
    assert "questions: 392 requests; the engine starts" in output
    before = {row["id"]: row for row in project.replies().to_pylist()}
    assert len(before) < 392
    assert {row["problem"] for row in before.values()} <= NO_QUESTION, "none was lost"
    assert all(row["reply_tokens"] > 0 for row in before.values())

    # A better model writes the questions that are left; this one judges them.
    prepared = project.prepared()
    written = write_replies(project, prepared, before)
    said: list[str] = []
    assert run(prepared, said.append) is None
    after = {row["id"]: row for row in project.replies().to_pylist()}
    assert len(after) == 392 == len(before) + written
    assert before.items() <= after.items(), "what was there stayed as it was"
    assert not any(line.startswith("questions: ") for line in said), "nothing is asked again"
    # What the untrained model wrote is no question.
    assert any(line.startswith(f"critique: {written} requests") for line in said), said
    verdicts = read_parts(project.store, prepared.verdicts_folder, VERDICTS).to_pylist()
    assert len(verdicts) == written
    assert all(not row["problem"] for row in verdicts)
    assert not any(isinstance(parse_verdict(row["reply"]), str) for row in verdicts)
    assert 0 < project.manifest()["examples"] <= written


def test_an_engine_that_dies_of_every_request_is_given_up(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's CPU worker dies of a seeded prompt that it computes in parts; the job forbids that, here it doesn't."""
    monkeypatch.setattr("longspan.generate.engine.MAX_RESTARTS", 0)  # Ray's own default has no end.
    parts = "{enable_chunked_prefill: true, max_num_batched_tokens: 64, max_num_seqs: 8}"
    prepared = project.prepared("name=dies", "max_documents=2", f"generator.engine={parts}")
    with pytest.raises(UserError, match="generator: the engine died, and so did those"):
        run(prepared)
    assert not project.store.list("instruct/dies/replies-*/*")


def write_replies(project: Project, prepared: Prepared, there: Container[str]) -> int:
    """Commit replies to all questions that have none, as a run before would have."""
    (spec,) = source_specs(prepared.recipe)
    files = [
        take(project.store, spec, info, prepared.choice) for info in resolve(project.store, spec)
    ]
    files, _ = chosen(files, prepared.choice.most)
    questions = prepared.questions()
    writer = PartWriter(project.store, prepared.replies_folder, REPLIES)
    written = 0
    for file in files:
        wanted = [document["id"] for document in file.documents]
        for request in questions.requests({"path": file.path, "documents": json.dumps(wanted)}):
            if request.id in there:
                continue
            text = json.loads(request.carry)["text"]
            facts = FACT.findall(text)
            name, thing, house = facts[request.seed % len(facts)]
            reply = (
                f"<question>What did {name} keep in {house}?</question><answer>A {thing}</answer>"
            )
            writer.add([questions.record(Reply(request.id, request.carry, reply, "stop", 1, 1))])
            written += 1
    writer.close()
    return written
