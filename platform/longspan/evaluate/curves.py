"""Results of an evaluation as named measurements, whose values over a run's checkpoints are curves."""

from __future__ import annotations

from collections.abc import Iterator

from longspan.evaluate.results import Estimate, LossResult, Results, SuiteResult, TaskResult
from longspan.observe.evaluations import Measurement

Z95 = 1.96
"""97.5 % quantile of the normal distribution."""


def measurements_in(results: Results) -> list[Measurement]:
    """Return what is worth a curve, of the evaluated model alone; what could not be measured is left out.

    ``score/<task>/<length>``: share in [0, 1], over all depths.
    ``loss/<corpus or all>/context/<tokens>``, ``loss/.../position/<first>-<last>``: nats per token.
    ``loss/.../last_doubling_gain``, ``.../far_swap``: nats per token; ``.../key_token_perplexity``.
    ``suite/<task>/<metric>``: as the suite states it.
    """
    return [
        *(each for task in results.tasks for each in _of_task(task)),
        *(each for losses in results.losses for each in _of_losses(losses)),
        *(each for suite in results.suites for each in _of_suite(suite)),
    ]


def _of_task(task: TaskResult) -> Iterator[Measurement]:
    for cell in task.cells:
        if cell.depth is None and cell.score is not None:
            yield _measurement(f"score/{task.task}/{cell.length}", cell.score)


def _of_losses(losses: LossResult) -> Iterator[Measurement]:
    prefix = f"loss/{losses.corpus or 'all'}"
    for point in losses.by_context:
        yield _measurement(f"{prefix}/context/{point.first}", point.loss)
    for point in losses.by_position:
        yield _measurement(f"{prefix}/position/{point.first}-{point.last}", point.loss)
    for name in ("last_doubling_gain", "far_swap", "key_token_perplexity"):
        if (estimate := getattr(losses, name)) is not None:
            yield _measurement(f"{prefix}/{name}", estimate)


def _of_suite(suite: SuiteResult) -> Iterator[Measurement]:
    name, value = f"suite/{suite.task}/{suite.metric}", suite.value
    if value is None:
        return
    half = None if suite.stderr is None else Z95 * suite.stderr
    low, high = (None, None) if half is None else (value - half, value + half)
    yield Measurement(name, value, low, high, suite.n)


def _measurement(name: str, estimate: Estimate) -> Measurement:
    if estimate.method == "none":
        return Measurement(name, estimate.value, n=estimate.n)
    return Measurement(name, estimate.value, estimate.low, estimate.high, estimate.n)
