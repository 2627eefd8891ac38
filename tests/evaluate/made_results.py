"""Results made by hand."""

from __future__ import annotations

from longspan.evaluate.results import (
    Cell,
    Estimate,
    LossPoint,
    LossResult,
    ModelInfo,
    Provenance,
    Results,
    SuiteResult,
    TaskResult,
)


def estimate(value: float, half: float = 0.1, n: int = 50) -> Estimate:
    return Estimate(
        value=value, low=value - half, high=value + half, n=n, clusters=n, method="wilson"
    )


def results(score: float, loss: float = 2.0) -> Results:
    """Results of one task at two lengths, one corpus and two suites."""
    cells = [
        Cell(
            length=length, depth=depth, score=estimate(score / part), prompt_tokens=(90, 95, length)
        )
        for part, length in enumerate((128, 256), start=1)
        for depth in (None, 0.0, 1.0)
    ]
    task = TaskResult(
        task="niah_single_1",
        version=1,
        family="retrieval",
        scoring="contains_all",
        cells=cells,
        effective_length=128,
        effective_length_conservative=None,
        threshold=0.85,
    )
    point = LossPoint(first=64, last=64, loss=estimate(loss))
    losses = LossResult(
        corpus="books",
        by_position=[LossPoint(first=0, last=128, loss=estimate(loss + 1))],
        by_context=[point],
        last_doubling_gain=estimate(0.02),
        far_swap=None,
        key_token_perplexity=None,
        key_tokens=0,
        power_law=None,
    )
    suites = [
        SuiteResult(
            task="arc", metric="acc", value=0.5, stderr=0.05, n=100, shots=0, version="1.0"
        ),
        SuiteResult(
            task="qasper", metric="f1", value=0.3, stderr=None, n=10, shots=2, version="1.0"
        ),
    ]
    return Results(
        name="quick",
        model=_model(),
        tasks=[task],
        losses=[losses],
        suites=suites,
        provenance=_provenance(),
    )


def _model() -> ModelInfo:
    return ModelInfo(
        name="made",
        identity="0",
        window=512,
        model_window=512,
        rope={},
        dtype="bfloat16",
        template="none",
        tokenizer="0",
    )


def _provenance() -> Provenance:
    return Provenance(
        code="0",
        packages={},
        seed=0,
        samples=50,
        lengths=[128, 256],
        depths=2,
        documents={"books": 3},
        documents_hash="0",
        engine={},
        base_window=None,
    )
