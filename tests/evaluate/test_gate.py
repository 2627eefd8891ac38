from typing import Any, get_args

import pytest

from longspan.evaluate.combine import wilson
from longspan.evaluate.gate.judge import judge
from longspan.evaluate.gate.thresholds import LOSS_ITEMS, ItemName, Thresholds
from longspan.evaluate.results import (
    Cell,
    Comparison,
    Estimate,
    LossChange,
    LossPoint,
    LossResult,
    ModelInfo,
    PairedDifference,
    Provenance,
    Results,
    SuiteResult,
    TaskResult,
    VerdictItem,
)
from longspan.evaluate.samples import Family, Scoring

WINDOW, BASE_WINDOW = 8192, 2048
LENGTHS = (1024, 2048, 4096, 8192)
ALL = Thresholds(required=list(get_args(ItemName)))


def scored(score: float, n: int = 400) -> Estimate:
    ends = wilson(score * n, n)
    return Estimate(value=score, low=ends.low, high=ends.high, n=n, clusters=n, method="wilson")


def around(value: float, half: float) -> Estimate:
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        n=900,
        clusters=90,
        method="cluster_bootstrap",
    )


def cell(length: int, score: float | None, depth: float | None = None, **counts: int) -> Cell:
    return Cell(
        length=length,
        depth=depth,
        score=None if score is None else scored(score),
        prompt_tokens=(length, length, length),
        **counts,
    )


def task(
    name: str, family: Family, cells: list[Cell], scoring: Scoring = "contains_all"
) -> TaskResult:
    return TaskResult(
        task=name,
        version=1,
        family=family,
        scoring=scoring,
        cells=cells,
        effective_length=None,
        effective_length_conservative=None,
        threshold=0.856,
    )


def ladder(*scores: float, lengths: tuple[int, ...] = LENGTHS) -> list[Cell]:
    return [cell(length, score) for length, score in zip(lengths, scores, strict=True)]


def own(*scores: float) -> TaskResult:
    return task("own_documents", "own_documents", ladder(*scores), "f1")


def suite(name: str, value: float | None, **changes: Any) -> SuiteResult:
    known: dict[str, Any] = {
        "group": "short",
        "stderr": 0.002,
        "n": 1000,
        "shots": 0,
        "version": "1",
    }
    return SuiteResult(task=name, metric="acc", value=value, **(known | changes))


def difference(name: str, value: float, half: float) -> PairedDifference:
    return PairedDifference(
        task=name,
        length=None,
        difference=around(value, half),
        wins=1,
        ties=1,
        losses=1,
        minimum_detectable=0.01,
    )


def loss(gain: Estimate | None, swap: Estimate | None, longest: int = 8000) -> LossResult:
    return LossResult(
        corpus=None,
        by_position=[],
        by_context=[LossPoint(first=longest, last=longest, loss=around(2, 0.1))],
        last_doubling_gain=gain,
        far_swap=swap,
        key_token_perplexity=None,
        key_tokens=0,
        power_law=None,
    )


def rise(context: int, value: float, half: float = 0.001) -> LossChange:
    return LossChange(corpus=None, context=context, change=around(value, half))


def compared(
    differences: list[PairedDifference] | None = None, changes: list[LossChange] | None = None
) -> Comparison:
    return Comparison(
        model="long", reference="base", differences=differences or [], loss_changes=changes or []
    )


GOOD_TASKS = [
    task("needle", "retrieval", ladder(1, 1, 1, 0.98)),
    task("words", "aggregation", ladder(0.99, 0.98, 0.95, 0.93)),
    task("places", "association", ladder(0.9, 0.9, 0.9, 0.9)),
    task("stories", "reasoning", ladder(0.8, 0.8, 0.8, 0.8)),
    task("paragraphs", "documents", ladder(0.7, 0.7, 0.7, 0.7)),
    task("shots", "many_shot", ladder(0.6, 0.6, 0.6, 0.62)),
    own(0.7, 0.7, 0.7, 0.7),
    task("own_documents_closed_book", "own_documents", [cell(0, 0.1)], "f1"),
]
GOOD_LOSS = loss(around(0.05, 0.01), around(0.1, 0.02))
GOOD_CHANGES = [rise(1024, 0.001), rise(2048, -0.002), rise(8192, -0.2)]
DIFFERENCES = [difference("arc (acc)", 0.001, 0.004), difference("hellaswag (acc)", -0.002, 0.004)]


def results(**changes: Any) -> Results:
    model = ModelInfo(
        name="long",
        identity="1",
        window=WINDOW,
        rope={},
        dtype="bfloat16",
        template="none",
        tokenizer="1",
    )
    provenance = Provenance(
        code="1",
        packages={},
        seed=0,
        samples=400,
        lengths=list(LENGTHS),
        depths=10,
        documents={},
        documents_hash="",
        engine={},
        training_window=BASE_WINDOW,
    )
    good: dict[str, Any] = {
        "name": "test",
        "model": model,
        "reference": model.model_copy(update={"name": "base", "window": BASE_WINDOW}),
        "tasks": GOOD_TASKS,
        "losses": [GOOD_LOSS],
        "suites": [suite("arc", 0.5), suite("hellaswag", 0.6)],
        "comparison": compared(DIFFERENCES, GOOD_CHANGES),
        "provenance": provenance,
    }
    return Results(**(good | changes))


def with_task(changed: TaskResult) -> Results:
    return results(tasks=[changed if each.task == changed.task else each for each in GOOD_TASKS])


def without(*families: Family) -> Results:
    return results(tasks=[each for each in GOOD_TASKS if each.family not in families])


def found(name: ItemName, given: Results, thresholds: Thresholds = ALL) -> VerdictItem:
    (item,) = [each for each in judge(given, thresholds).items if each.name == name]
    return item


def test_a_good_model_passes_every_item():
    verdict = judge(results(), ALL)
    assert [each.name for each in verdict.items] == list(get_args(ItemName))
    assert {each.status for each in verdict.items} == {"pass"}, verdict.items
    assert verdict.status == "pass"
    assert all(each.value is not None and each.source and each.detail for each in verdict.items)


CASES: list[tuple[ItemName, str, Results]] = [
    # Short tasks: one point for the mean, and for each suite that is certainly worse.
    (
        *("short_tasks_retained", "fail"),
        results(comparison=compared([difference("arc (acc)", -0.03, 0.005), DIFFERENCES[1]])),
    ),
    (
        *("short_tasks_retained", "fail"),
        results(
            comparison=compared(
                [difference("arc (acc)", -0.02, 0.005), difference("hellaswag (acc)", 0.05, 0)]
            )
        ),
    ),
    (
        *("short_tasks_retained", "inconclusive"),
        results(comparison=compared([difference("arc (acc)", 0, 0.05), DIFFERENCES[1]])),
    ),
    ("short_tasks_retained", "not_measured", results(suites=[])),
    ("short_tasks_retained", "not_measured", results(comparison=None)),
    ("short_tasks_retained", "not_measured", results(suites=[suite("arc", 0.5, group="long")])),
    ("short_tasks_retained", "fail", results(suites=[suite("arc", None, unanswered=2)])),
    ("short_tasks_retained", "fail", results(suites=[suite("arc", 0.5, truncated=1)])),
    (
        *("short_tasks_retained", "inconclusive"),
        results(suites=[suite("arc", 0.5), suite("piqa", 0.5)]),
    ),
    # Without samples to pair, standard errors are added as squares.
    (
        *("short_tasks_retained", "pass"),
        results(comparison=None, reference_suites=[suite("arc", 0.49), suite("hellaswag", 0.6)]),
    ),
    (
        *("short_tasks_retained", "fail"),
        results(comparison=None, reference_suites=[suite("arc", 0.6), suite("hellaswag", 0.6)]),
    ),
    (
        *("short_tasks_retained", "pass"),
        results(
            comparison=None,
            suites=[suite("ppl", 0.4, higher_is_better=False)],
            reference_suites=[suite("ppl", 0.5, higher_is_better=False)],
        ),
    ),
    (
        *("short_tasks_retained", "not_measured"),
        results(comparison=None, reference_suites=[suite("arc", 0.5, shots=5)]),
    ),
    # Loss at short contexts: 0.5 % at every context up to the base window.
    ("short_loss_retained", "fail", results(comparison=compared(changes=[rise(1024, 0.02)]))),
    (
        *("short_loss_retained", "inconclusive"),
        results(comparison=compared(changes=[rise(1024, 0.004, 0.002)])),
    ),
    (
        *("short_loss_retained", "pass"),
        results(comparison=compared(changes=[rise(2048, 0), rise(4096, 0.5)])),
    ),
    ("short_loss_retained", "not_measured", results(comparison=compared(changes=[rise(4096, 0)]))),
    ("short_loss_retained", "not_measured", results(comparison=None)),
    # Recall: the mean of tasks at each length.
    ("recall", "fail", with_task(task("needle", "retrieval", ladder(1, 1, 1, 0.6)))),
    ("recall", "fail", with_task(task("needle", "retrieval", ladder(0.6, 1, 1, 1)))),
    ("recall", "inconclusive", with_task(task("words", "aggregation", ladder(1, 1, 1, 0.74)))),
    (
        *("recall", "inconclusive"),
        results(tasks=[task("needle", "retrieval", ladder(1, 1, lengths=(1024, 4096)))]),
    ),
    ("recall", "not_measured", without("retrieval", "aggregation")),
    (
        *("recall", "not_measured"),
        results(tasks=[task("graph", "tracing", ladder(1, 1, 1, 1), "set_f1")]),
    ),
    # Beyond literal matching: 85 % of the own score at the shortest length.
    (
        "beyond_literal",
        "fail",
        with_task(task("places", "association", ladder(0.9, 0.9, 0.9, 0.5))),
    ),
    ("beyond_literal", "fail", with_task(task("stories", "reasoning", ladder(0.8, 0.5, 0.8, 0.8)))),
    (
        *("beyond_literal", "inconclusive"),
        with_task(task("places", "association", ladder(0.9, 0.9, 0.9, 0.77))),
    ),
    (
        *("beyond_literal", "inconclusive"),
        with_task(task("places", "association", ladder(0.1, 0.1, 0.1, 0.1))),
    ),
    ("beyond_literal", "not_measured", without("association", "reasoning")),
    # Use of context: the whole interval above zero.
    ("context_gain", "fail", results(losses=[loss(around(-0.01, 0.005), None)])),
    ("context_gain", "fail", results(losses=[loss(around(0, 0), None)])),
    ("context_gain", "inconclusive", results(losses=[loss(around(0.01, 0.02), None)])),
    ("context_gain", "inconclusive", results(losses=[loss(around(0.05, 0.01), None, 2048)])),
    ("context_gain", "not_measured", results(losses=[loss(None, around(0.1, 0.02))])),
    ("context_gain", "not_measured", results(losses=[])),
    ("far_context_used", "fail", results(losses=[loss(None, around(-0.1, 0.02))])),
    ("far_context_used", "inconclusive", results(losses=[loss(None, around(0.01, 0.02))])),
    (
        *("far_context_used", "inconclusive"),
        results(losses=[loss(None, around(0.1, 0).model_copy(update={"method": "none"}))]),
    ),
    ("far_context_used", "not_measured", results(losses=[loss(around(0.1, 0.02), None)])),
    # No drop from half the window to the window.
    (
        "no_drop_to_window",
        "fail",
        with_task(task("shots", "many_shot", ladder(0.6, 0.6, 0.6, 0.4))),
    ),
    (
        "no_drop_to_window",
        "pass",
        with_task(task("shots", "many_shot", ladder(0.9, 0.9, 0.6, 0.6))),
    ),
    (
        *("no_drop_to_window", "inconclusive"),
        with_task(
            task(
                "shots",
                "many_shot",
                [each.model_copy(update={"score": scored(0.6, 20)}) for each in ladder(*[0.6] * 4)],
            )
        ),
    ),
    (
        *("no_drop_to_window", "inconclusive"),
        results(tasks=[task("shots", "many_shot", ladder(0.6, 0.6, lengths=(1024, 2048)))]),
    ),
    (
        *("no_drop_to_window", "not_measured"),
        results(tasks=[task("shots", "many_shot", ladder(0.6, lengths=(8192,)))]),
    ),
    (
        *("no_drop_to_window", "not_measured"),
        results(tasks=[task("shots", "many_shot", ladder(0.9, 0.2, lengths=(0, 8192)))]),
    ),
    # Own documents.
    ("own_documents_used", "fail", with_task(own(0.7, 0.7, 0.7, 0.1))),
    ("own_documents_used", "inconclusive", with_task(own(0.7, 0.7, 0.7, 0.17))),
    ("own_documents_used", "not_measured", results(tasks=[own(0.7, 0.7, 0.7, 0.7)])),
    ("own_documents_everywhere", "fail", with_task(own(0.7, 0.7, 0.2, 0.7))),
    ("own_documents_everywhere", "inconclusive", with_task(own(0.7, 0.7, 0.36, 0.7))),
    ("own_documents_everywhere", "not_measured", without("own_documents")),
    (
        *("own_documents_everywhere", "fail"),
        with_task(
            task("own_documents", "own_documents", [*ladder(*[0.7] * 4), cell(8192, 0.1, 0.5)])
        ),
    ),
]


@pytest.mark.parametrize(
    ("name", "status", "given"),
    CASES,
    ids=[f"{name}-{status}-{number}" for number, (name, status, _) in enumerate(CASES)],
)
def test_item(name: ItemName, status: str, given: Results):
    item = found(name, given)
    assert item.status == status, item.detail
    assert item.detail


@pytest.mark.parametrize("count", ["refused", "over_length", "unanswered"])
@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("recall", 0),
        ("beyond_literal", 2),
        ("no_drop_to_window", 4),
        ("own_documents_used", 6),
        ("own_documents_everywhere", 6),
    ],
)
def test_one_prompt_without_a_reply_fails_its_item(name: ItemName, index: int, count: str):
    good = GOOD_TASKS[index]
    *cells, last = good.cells
    faulty = last.model_copy(update={count: 1})
    item = found(name, with_task(good.model_copy(update={"cells": [*cells, faulty]})))
    assert item.status == "fail"
    assert f"{good.task} at 8,192: 1" in item.detail


def test_a_cell_without_any_reply_fails_and_is_not_taken_for_a_zero():
    cells = [*ladder(1, 1, 1, 1)[:3], cell(8192, None, refused=50)]
    item = found("recall", with_task(task("needle", "retrieval", cells)))
    assert item.status == "fail"
    assert item.value and item.value > 0.9
    assert "50 refused" in item.detail


def test_replies_that_end_at_max_tokens_are_counted_but_no_fault():
    cells = [*ladder(1, 1, 1, 1)[:3], cell(8192, 1, truncated=50)]
    item = found("recall", with_task(task("needle", "retrieval", cells)))
    assert item.status == "pass"
    assert "50 replies ended at max_tokens" in item.detail


def test_lengths_beyond_the_window_do_not_count():
    unsolved = [cell(12000, 0), cell(16384, None, over_length=50)]
    beyond = [each.model_copy(update={"cells": [*each.cells, *unsolved]}) for each in GOOD_TASKS]
    assert judge(results(tasks=beyond), ALL) == judge(results(), ALL)


def test_every_recall_task_can_be_judged_by_itself():
    weak = with_task(task("words", "aggregation", ladder(0.99, 0.98, 0.95, 0.78)))
    assert found("recall", weak).status == "pass"
    assert "lowest task: words at 8,192: 0.780" in found("recall", weak).detail
    strict = found("recall", weak, Thresholds(recall_rule="every_task"))
    assert strict.status == "fail"
    assert strict.detail.startswith("worst: words at 8,192")


def test_the_worst_case_is_named_with_its_numbers():
    item = found(
        "beyond_literal", with_task(task("stories", "reasoning", ladder(0.8, 0.5, 0.3, 0.8)))
    )
    assert item.detail.startswith("worst: reasoning at 4,096: 0.300 [")
    assert item.value == pytest.approx(0.3 - 0.85 * 0.8)
    assert item.threshold == 0


def test_a_control_without_documents_is_no_task_of_documents():
    control = task("paragraphs_closed_book", "documents", [cell(0, 0.05)])
    assert judge(results(tasks=[*GOOD_TASKS, control]), ALL) == judge(results(), ALL)


def test_a_failed_item_fails_the_verdict_even_beside_inconclusive_ones():
    verdict = judge(
        results(losses=[loss(around(-0.01, 0.005), around(0.01, 0.02))]),
        ALL,
    )
    assert {"fail", "inconclusive"} <= {each.status for each in verdict.items}
    assert verdict.status == "fail"


def test_an_inconclusive_item_makes_the_verdict_so():
    verdict = judge(results(losses=[loss(around(0.01, 0.02), GOOD_LOSS.far_swap)]), ALL)
    assert verdict.status == "inconclusive"


@pytest.mark.parametrize(("required", "status"), [(True, "inconclusive"), (False, "pass")])
def test_only_a_required_item_must_be_measured(required: bool, status: str):
    names = [name for name in get_args(ItemName) if required or not name.startswith("own_")]
    verdict = judge(without("own_documents"), Thresholds(required=names))
    assert verdict.status == status
    item = found("own_documents_used", without("own_documents"), Thresholds(required=names))
    assert item.detail.startswith("required, but not measured") == required


@pytest.mark.parametrize(
    "required",
    [[], sorted(LOSS_ITEMS)],
    ids=["none", "losses"],
)
def test_losses_alone_are_never_sufficient(required: list[ItemName]):
    verdict = judge(results(tasks=[], suites=[]), Thresholds(required=required))
    assert {each.status for each in verdict.items if each.name in LOSS_ITEMS} == {"pass"}
    assert verdict.status == "inconclusive"
    assert verdict.items[-1].name == "more_than_loss"


def test_nothing_measured_is_inconclusive():
    nothing = results(tasks=[], suites=[], losses=[], comparison=None)
    assert judge(nothing, Thresholds(required=[])).status == "inconclusive"


@pytest.mark.parametrize(
    ("name", "stricter"),
    [
        ("recall", 0.9999),
        ("short_loss", 0.0),
        ("short_tasks", 0.0),
        ("base_share", 1.0),
        ("base_score", 0.95),
        ("closed_book_margin", 0.65),
        ("collapse_share", 0.99),
        ("drop_resolution", 0.01),
    ],
)
def test_each_threshold_is_used(name: str, stricter: float):
    thresholds = Thresholds.model_validate({"required": ALL.required, name: stricter})
    assert judge(results(), thresholds).status != "pass"
