import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from longspan.evaluate.aggregate import TaskInfo, compare, task_result
from longspan.evaluate.comparison import compare_suites
from longspan.evaluate.losses.estimates import relative_change
from longspan.evaluate.losses.sums import LossSums
from longspan.evaluate.results import SampleRecord

INFO = TaskInfo("needle", 1, "retrieval", "contains_all")


def record(index: int, score: float | None = 1.0, **changes: Any) -> SampleRecord:
    length = changes.get("length", 4096)
    task = changes.get("task", "needle")
    values: dict[str, Any] = {
        "id": f"{task}-{length}-{index}",
        "request": "",
        "task": task,
        "length": length,
        "index": index,
        "depth": (index % 2) / 1,
        "cluster": f"document-{index}",
        "references": ["17"],
        "reply": "17",
        "score": score,
        "problem": "",
        "truncated": False,
        "prompt_tokens": 4000 + index,
        "reply_tokens": 2,
        "prompt_head": "",
        "prompt_tail": "",
        "evidence": [],
        "evidence_text": "",
    }
    return SampleRecord(**(values | changes))


def unanswered(index: int, problem: str, **changes: Any) -> SampleRecord:
    return record(index, None, problem=problem, **changes)


def test_cells_are_of_all_depths_first_then_of_each_by_length():
    records = [record(index, length=length) for length in (8192, 4096) for index in range(4)]
    found = task_result(INFO, records, 0)
    assert [(cell.length, cell.depth) for cell in found.cells] == [
        *((4096, None), (8192, None)),
        *((4096, 0), (4096, 1), (8192, 0), (8192, 1)),
    ]
    assert [cell.score.n for cell in found.cells if cell.score] == [4, 4, 2, 2, 2, 2]
    assert found.cells[0].prompt_tokens == (4000, 4001, 4003)
    assert (found.effective_length, found.effective_length_conservative) == (8192, None)


def test_samples_without_a_single_place_have_no_cells_by_depth():
    found = task_result(INFO, [record(index, depth=None) for index in range(4)], 0)
    assert [cell.depth for cell in found.cells] == [None]


def test_length_zero_is_a_base_and_no_effective_length():
    stories = TaskInfo("needle", 1, "reasoning", "one_of_labels")

    def scored(length: int, right: int) -> list[SampleRecord]:
        return [record(index, float(index < right), length=length) for index in range(20)]

    found = task_result(stories, scored(0, 16) + scored(4096, 14) + scored(8192, 13), 0)
    assert found.threshold == pytest.approx(0.85 * 0.8)
    assert found.effective_length == 4096
    assert task_result(stories, scored(0, 20) + scored(4096, 10), 0).effective_length is None
    assert task_result(INFO, scored(4096, 20), 0).threshold == 0.856


def test_prompts_without_a_reply_are_counted_and_never_scored():
    records = [
        record(0),
        record(1, truncated=True),
        unanswered(2, "over_length: 8200 tokens"),
        unanswered(3, "refused: content filter"),
        unanswered(4, "unanswered: timed out"),
        unanswered(5, "unanswered: timed out"),
    ]
    cell = task_result(INFO, records, 0).cells[0]
    assert cell.score and (cell.score.value, cell.score.n) == (1, 2)
    counts = (cell.truncated, cell.over_length, cell.refused, cell.unanswered)
    assert counts == (1, 1, 1, 2)


def test_a_cell_without_any_reply_has_no_score_and_ends_the_effective_length():
    records = [record(index) for index in range(40)]
    records += [unanswered(index, "over_length: too long", length=8192) for index in range(40)]
    records += [record(index, length=16384) for index in range(40)]
    found = task_result(INFO, records, 0)
    assert found.cells[1].score is None
    assert found.cells[1].over_length == 40
    assert (found.effective_length, found.effective_length_conservative) == (4096, 4096)


def test_the_result_does_not_depend_on_the_order_of_the_records():
    records = [record(index, index % 3 / 2, cluster=str(index % 12)) for index in range(36)]
    shuffled = random.Random(0).sample(records, len(records))
    assert task_result(INFO, shuffled, 0) == task_result(INFO, records, 0)


@pytest.mark.parametrize(
    "wrong",
    [record(0, None), record(0, 1.0, problem="refused: why"), record(0, None, problem="slow: why")],
    ids=["neither", "both", "unknown"],
)
def test_a_record_with_neither_a_score_nor_a_known_problem_is_an_error(wrong):
    with pytest.raises(ValueError, match="needle-4096-0"):
        task_result(INFO, [wrong], 0)


def test_models_are_compared_on_the_samples_that_both_answered():
    own = [record(0, 1), record(1, 1), record(2, 0), unanswered(3, "refused: why"), record(4, 1)]
    reference = [record(0, 0), record(1, 1), record(2, 1), record(3, 1), record(5, 1)]
    by_length, overall = compare(own, reference, 0)
    assert (by_length.length, overall.length) == (4096, None)
    for each in (by_length, overall):
        assert (each.wins, each.ties, each.losses, each.left_out) == (1, 1, 1, 3)
        assert each.difference.value == 0


def test_a_length_that_one_model_cannot_be_asked_counts_as_left_out():
    own = [record(index, length=length) for length in (4096, 8192) for index in range(4)]
    by_length, overall = compare(own, [record(index) for index in range(4)], 0)
    assert (by_length.length, by_length.left_out) == (4096, 0)
    assert (overall.difference.n, overall.left_out) == (4, 4)


def test_questions_on_one_document_are_one_cluster_over_all_lengths():
    own = [
        record(index, index % 2, length=length, cluster="same")
        for length in (4096, 8192)
        for index in range(10)
    ]
    reference = [each.model_copy(update={"score": 0.0}) for each in own]
    *_, overall = compare(own, reference, 0)
    assert (overall.difference.n, overall.difference.clusters) == (20, 1)


def test_tasks_are_compared_apart():
    records = [record(index, task=task) for task in ("b", "a") for index in range(3)]
    found = [(each.task, each.length) for each in compare(records, records, 0)]
    assert found == [("a", 4096), ("a", None), ("b", 4096), ("b", None)]


@pytest.mark.parametrize(
    ("factor", "low", "high"), [(1.002, -0.001, 0.005), (0.99, -0.015, -0.005)]
)
def test_changes_of_losses_are_paired_by_document_and_relative(factor, low, high):
    rng = np.random.default_rng(0)
    counts = np.full((30, 1), 64)
    documents = tuple(map(str, range(30)))
    # Documents differ by far more than the models do.
    reference = counts * rng.uniform(1, 5, size=(30, 1))
    own = reference * factor * rng.normal(1, 0.002, size=(30, 1))
    sums = (LossSums(documents, ("books",) * 30, losses, counts) for losses in (own, reference))
    change = relative_change(*sums, seed=0)
    assert change is not None and change.n == 30 * 64
    assert low < change.low < factor - 1 < change.high < high


@dataclass(frozen=True)
class Answered:
    id: str
    score: float | None
    task: str = "arc"
    metric: str = "acc"
    cluster: str = "one"


def test_suites_are_compared_question_by_question_and_metric():
    own = [Answered("1", 1), Answered("2", 0), Answered("3", None), Answered("1", 1, metric="f1")]
    reference = [Answered("2", 1), Answered("1", 0), Answered("4", 1), Answered("3", 1)]
    (found,) = compare_suites(own, reference, 0)
    assert (found.task, found.length, found.left_out) == ("arc (acc)", None, 2)
    assert (found.wins, found.ties, found.losses) == (1, 0, 1)
    assert (found.difference.n, found.difference.clusters) == (2, 1)


def test_a_metric_that_is_no_share_has_no_difference():
    assert compare_suites([Answered("1", 12.5)], [Answered("1", 11.0)], 0) == []
