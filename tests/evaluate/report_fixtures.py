"""Results of evaluations that were never run: a whole one, and one that measured nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from longspan.evaluate.results import (
    Cell,
    Comparison,
    Estimate,
    LossChange,
    LossPoint,
    LossResult,
    ModelInfo,
    PairedDifference,
    PowerLaw,
    Provenance,
    Results,
    SampleRecord,
    SuiteResult,
    TaskResult,
    Verdict,
    VerdictItem,
)
from longspan.evaluate.samples import Family

LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)
DEPTHS = tuple(index / 9 for index in range(10))
WINDOW, BASE_WINDOW = 8192, 2048
TASKS: tuple[tuple[str, Family], ...] = (
    ("niah_single_1", "retrieval"),
    ("first_sentence", "retrieval"),
    ("vt", "tracing"),
    ("association", "association"),
    ("own_questions", "own_documents"),
)
Score = Callable[[int, float], float]
"""Score of a model by length and depth."""


def perfect(length: int, depth: float) -> float:
    return 1.0


def half_window(length: int, depth: float) -> float:
    """Sound up to half the window; beyond, only the end of the context is seen."""
    return 0.96 if length <= WINDOW // 2 or (1 - depth) * length <= WINDOW // 4 else 0.08


def estimate(value: float, n: int, width: float = 0.0) -> Estimate:
    half = width or 1.96 * math.sqrt(max(value * (1 - value), 0.01) / n)
    low, high = (
        (value - half, value + half) if width else (max(0, value - half), min(1, value + half))
    )
    return Estimate(value=value, low=low, high=high, n=n, clusters=max(1, n // 3), method="wilson")


def cell(length: int, depth: float | None, value: float | None, n: int = 0) -> Cell:
    return Cell(
        length=length,
        depth=depth,
        score=None if value is None else estimate(value, n),
        over_length=50 if value is None else 0,
        truncated=2 if length == 4096 and depth is None else 0,
        prompt_tokens=(length - 40, length - 30, length - 20),
    )


def task_result(name: str, family: Family, score: Score) -> TaskResult:
    cells = []
    for length in LENGTHS:
        values = [score(length, depth) for depth in DEPTHS]
        if length > WINDOW:
            cells.append(cell(length, None, None))
        else:
            cells.append(cell(length, None, sum(values) / len(values), 50))
    has_depth = name != "first_sentence"
    for length in LENGTHS[:-1] if has_depth else ():
        cells += [cell(length, depth, score(length, depth), 5) for depth in DEPTHS]
    met = [c.length for c in cells if c.depth is None and c.score and c.score.value >= 0.856]
    return TaskResult(
        task=name,
        version=1,
        family=family,
        scoring="rouge_l" if name == "first_sentence" else "contains_all",
        cells=cells,
        effective_length=max(met, default=None),
        effective_length_conservative=max(met, default=512) // 2,
        threshold=0.856,
    )


def loss_result(corpus: str | None, gamma: float, has_fit: bool = True) -> LossResult:
    def law(context: float) -> float:
        return (25.4 / context) ** 0.45 + gamma

    def point(first: int, last: int, loss: float) -> LossPoint:
        return LossPoint(first=first, last=last, loss=estimate(loss, 4000, width=0.03))

    bands = [(0, 256), *((2**k, 2 ** (k + 1)) for k in range(8, 13))]
    fit = PowerLaw(
        alpha=estimate(25.4, 64, width=6.0),
        beta=estimate(0.45, 64, width=0.06),
        gamma=estimate(gamma, 64, width=0.04),
        problem=None,
    )
    none = PowerLaw(
        alpha=None, beta=None, gamma=None, problem="the losses do not decrease with context"
    )
    return LossResult(
        corpus=corpus,
        by_position=[point(first, last, law(math.sqrt((first or 128) * last))) for first, last in bands],
        by_context=[point(2**k, 2**k, law(2**k)) for k in range(4, 14)],
        last_doubling_gain=estimate(0.021, 64, width=0.008),
        far_swap=estimate(0.034, 64, width=0.011),
        key_token_perplexity=estimate(4.81, 64, width=0.2),
        key_tokens=1210,
        power_law=fit if has_fit else none,
    )  # fmt: skip


def sample_record(
    task: str, length: int, index: int, reply: str, score: float | None
) -> SampleRecord:
    depth = DEPTHS[index % 10] if task != "first_sentence" else None
    place = int(4 * length * (depth or 0.0))
    return SampleRecord(
        id=f"{task}-{length}-{index}",
        request=f"request-{task}-{length}-{index}",
        task=task,
        length=length,
        index=index,
        depth=depth,
        cluster=f"document-{index % 4}",
        references=["7051283"],
        reply=reply if score is not None else "",
        score=score,
        problem="" if score is not None else "over_length: 16,384 tokens, the window has 8,192",
        truncated=index == 3,
        prompt_tokens=length - 30,
        reply_tokens=12,
        prompt_head="A special magic number is hidden within the following text. " * 6,
        prompt_tail="... the sea lay calm. What is the special magic number for wistful-harbor? "
        * 4,
        evidence=[(place, place + 70)],
        evidence_text="One of the special magic numbers for wistful-harbor is: 7051283.",
    )


def sample_records(
    reply: str = "7051283", indices: range = range(20)
) -> dict[str, list[SampleRecord]]:
    rng = random.Random(0)
    return {
        task: [
            sample_record(task, length, index, reply, None if length > WINDOW else rng.choice([0.0, 1.0]))
            for length in LENGTHS
            for index in indices
        ]
        for task, _ in TASKS
    }  # fmt: skip


def model_info(name: str) -> ModelInfo:
    return ModelInfo(
        name=name,
        identity=f"identity of {name}",
        window=WINDOW,
        model_window=WINDOW,
        rope={"rope_type": "default", "rope_theta": 500000.0},
        dtype="bfloat16",
        template="chat",
        tokenizer="0a1b2c",
    )


def suite(task: str, metric: str, value: float | None, shots: int | None, **more) -> SuiteResult:
    return SuiteResult(
        task=task, metric=metric, value=value, stderr=0.012, n=1319, shots=shots, version="2", **more
    )  # fmt: skip


SUITES = [
    suite("gsm8k_cot", "exact_match", 0.214, 8, group="short"),
    suite("mmlu", "acc", 0.452, 5, group="short"),
    suite("mmlu_stem", "acc", 0.401, 0, group="short"),
    suite("paper_qasper", "f1", 0.281, 2, group="long", truncated=3),
    suite("bold", "vader", 0.41, None, higher_is_better=False),
    suite("winogrande", "acc", None, 0, group="short", over_length=2),
]


def comparison() -> Comparison:
    differences = []
    for number, (task, _) in enumerate(TASKS):
        for length in LENGTHS[:-1]:
            value = (-0.02, 0.12, -0.06, 0.004, 0.3)[number]
            differences.append(
                PairedDifference(
                    task=task,
                    length=length,
                    difference=estimate(value, 50, width=0.05),
                    wins=20,
                    ties=25,
                    losses=5,
                    minimum_detectable=0.07,
                    left_out=length == 8192,
                )
            )
    changes = [
        LossChange(corpus=None, context=512 * 2**k, change=estimate(-0.002 * k, 4000, width=0.003))
        for k in range(4)
    ]
    return Comparison(
        model="extended", reference="base", differences=differences, loss_changes=changes
    )


def verdict() -> Verdict:
    def item(
        name: str, status, value=None, low=None, high=None, threshold=None, detail=""
    ) -> VerdictItem:
        return VerdictItem(
            name=name,
            status=status,
            value=value,
            low=low,
            high=high,
            threshold=threshold,
            source="RULER (arXiv 2404.06654), section 4",
            detail=detail,
        )  # fmt: skip

    return Verdict(
        status="fail",
        items=[
            item("short context kept", "pass", -0.002, -0.008, None, -0.01, "gsm8k_cot: 21.4 against 21.6"),
            item("recall at every length", "fail", 0.36, 0.24, 0.49, 0.856, "worst: niah_single_1 at 8,192 tokens"),
            item("beyond literal matching", "inconclusive", 0.9, 0.79, 0.95, 0.85, "association at 4,096 tokens"),
            item("context is used", "pass", 0.021, 0.013, 0.029, 0.0, "gain of the last doubling, all corpora"),
            item("own documents", "not_measured", detail="no self-instruct pairs of held-out documents were given"),
        ],
    )  # fmt: skip


def whole_results() -> Results:
    """Every part measured: sound to half the window."""
    return Results(
        name="fixture",
        model=model_info("extended"),
        reference=model_info("base"),
        tasks=[task_result(name, family, half_window) for name, family in TASKS],
        reference_tasks=[task_result(name, family, perfect) for name, family in TASKS],
        losses=[loss_result(None, 1.56), loss_result("books", 1.7, has_fit=False)],
        reference_losses=[loss_result(None, 1.66)],
        suites=SUITES,
        reference_suites=SUITES[:2],
        comparison=comparison(),
        verdict=verdict(),
        provenance=provenance(),
    )


def empty_results() -> Results:
    """Nothing measured."""
    return Results(name="empty", model=model_info("extended"), provenance=provenance())


def provenance() -> Provenance:
    return Provenance(
        code="0.1.0",
        packages={"vllm": "0.29.0", "torch": "2.13.0"},
        seed=7,
        samples=50,
        lengths=list(LENGTHS),
        depths=10,
        documents={"books": 40, "code": 112},
        documents_hash="9f8e7d",
        engine={"dtype": "bfloat16", "enable_prefix_caching": True},
        base_window=BASE_WINDOW,
    )
