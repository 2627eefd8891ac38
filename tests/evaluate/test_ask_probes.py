"""Every probe through the whole path of asking: right answers score 1 in every cell, none scores 0."""

import json
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest

from longspan.evaluate.ask import ask_samples
from longspan.evaluate.documents import documents_hash
from longspan.evaluate.grid import SampleGrid
from longspan.evaluate.probes.registry import TASKS
from longspan.evaluate.samples import ProbeSource, Scoring, Task
from longspan.generate.generators import InProcessGenerator
from longspan.generate.requests import Reply, Request
from longspan.storage import Store
from tests.evaluate.probe_fixtures import completion_format, document, prose

LENGTHS = (2048, 8192)


@cache
def of_two_corpora() -> ProbeSource:
    """Documents of two corpora: some probes ask which one a passage is from."""
    corpora = ("books", "letters")
    documents = tuple(document(prose(number, 300), corpora[number % 2]) for number in range(6))
    return ProbeSource(documents, documents_hash(documents), completion_format(), 1, depths=3)


class Oracle:
    """Knows the references of each request about a task; or answers nothing."""

    def __init__(self, task: Task, is_right: bool) -> None:
        self._task, self._is_right = task, is_right

    def respond(self, request: Request) -> Reply:
        facts = json.loads(request.carry)
        assert len(request.prompt_ids) + request.sampling.max_tokens <= facts["length"]
        text = right_answer(self._task.scoring, facts["references"]) if self._is_right else ""
        return Reply(request.id, request.carry, text, "stop", len(request.prompt_ids), 1)


def right_answer(scoring: Scoring, references: list[str]) -> str:
    if scoring == "set_f1":
        return f"Final Answer: [{', '.join(references)}]"
    return ", ".join(references) if scoring == "contains_all" else references[0]


def alike(first: str, second: str) -> int:
    """Characters that both texts begin with."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def test_a_sample_with_a_context_begins_alike_at_any_length() -> None:
    """With more than the instruction that other samples have too: asked one after another, it is computed once."""
    source, checked = of_two_corpora(), set()
    for name, task in TASKS.items():
        if task.context_id(source, 1):
            long, short = (task.sample(source, length, 1).text for length in (3072, 2048))
            assert alike(long, short) > alike(long, task.sample(source, 3072, 2).text), name
            checked.add(name)
    assert {"association", "story_one_fact", "many_shot_documents"} <= checked


@pytest.mark.parametrize("name", TASKS)
def test_right_answers_score_one_and_none_scores_zero(name: str, tmp_path: Path) -> None:
    task: Task = TASKS[name]
    source = of_two_corpora()
    lengths = tuple(length for length in LENGTHS if task.problem(source, length) is None)
    assert lengths, f"{name} has no samples at {LENGTHS}"
    for is_right in (True, False):
        store = Store(str(tmp_path / str(is_right)))
        grid = SampleGrid((task,), lengths, 3, source, "m")
        generator = InProcessGenerator(Oracle(task, is_right))
        records = ask_samples(grid, generator, store, "e", lambda line: None).records
        assert len(records) == 3 * len(lengths)
        assert {record.score for record in records} == {float(is_right)}, records[0]
        assert not any(record.problem for record in records)
