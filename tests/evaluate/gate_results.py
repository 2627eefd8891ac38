"""Results for the gate: those of a good model, and changes of them."""

from typing import Any, get_args

from longspan.evaluate.combine import wilson
from longspan.evaluate.gate.judge import judge
from longspan.evaluate.gate.thresholds import ItemName, Thresholds
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


def cell(
    length: int, score: float | None, depth: float | None = None, n: int = 400, **counts: int
) -> Cell:
    return Cell(
        length=length,
        depth=depth,
        score=None if score is None else scored(score, n),
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


def ladder(*scores: float, lengths: tuple[int, ...] = LENGTHS, n: int = 400) -> list[Cell]:
    return [cell(length, score, n=n) for length, score in zip(lengths, scores, strict=True)]


def shots(*scores: float, lengths: tuple[int, ...] = LENGTHS, n: int = 2000) -> TaskResult:
    return task("shots", "many_shot", ladder(*scores, lengths=lengths, n=n))


def own(*scores: float) -> TaskResult:
    return task("own_documents", "own_documents", ladder(*scores), "f1")


def suite(name: str, value: float | None, metric: str = "acc", **changes: Any) -> SuiteResult:
    known: dict[str, Any] = {
        "group": "short",
        "stderr": 0.002,
        "n": 1000,
        "shots": 0,
        "version": "1",
    }
    return SuiteResult(task=name, metric=metric, value=value, **(known | changes))


def difference(name: str, value: float, half: float, left_out: int = 0) -> PairedDifference:
    return PairedDifference(
        task=name,
        length=None,
        difference=around(value, half),
        wins=1,
        ties=1,
        losses=1,
        minimum_detectable=0.01,
        left_out=left_out,
    )


def loss(
    gain: Estimate | None, swap: Estimate | None, longest: int = 8000, too_short: int = 0
) -> LossResult:
    return LossResult(
        corpus=None,
        by_position=[],
        by_context=[LossPoint(first=longest, last=longest, loss=around(2, 0.1))],
        too_short=too_short,
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
    task("paragraphs", "documents", ladder(0.7, 0.7, 0.7, 0.7, n=2000)),
    shots(0.6, 0.6, 0.6, 0.62),
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
        model_window=WINDOW,
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
        base_window=BASE_WINDOW,
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
