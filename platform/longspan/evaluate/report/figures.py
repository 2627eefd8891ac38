"""Figures of the report: score by length, loss by position, loss by context with its fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longspan.evaluate.report.numbers import number, percent, tokens
from longspan.evaluate.results import Estimate, LossPoint, LossResult, PowerLaw, Results, TaskResult
from longspan.observe.figures import BLUE, GREY, INK, ORANGE, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL, WIDE = (4.0, 2.5), (7.2, 4.0)
"""Inches; the page scales figures to their columns."""
_MODEL = {"color": BLUE, "marker": "o", "linestyle": "-"}
_REFERENCE = {"color": ORANGE, "marker": "^", "linestyle": "--"}
_BASE_WINDOW: dict[str, Any] = {"color": GREY, "dashes": (1, 1), "linewidth": 1.5}
_WINDOW: dict[str, Any] = {"color": INK, "dashes": (5, 2), "linewidth": 1.2}


@dataclass(frozen=True)
class Windows:
    """Lengths that figures mark, in tokens."""

    evaluated: int
    """Window that the model was evaluated with."""
    base: int | None
    """Window of the base model, before it was extended."""

    @classmethod
    def of(cls, results: Results) -> Windows:
        """Windows of an evaluation."""
        return cls(results.model.window, results.provenance.base_window)


def scores_by_length(task: TaskResult) -> dict[int, Estimate]:
    """Scores of all depths together by length, without length 0 and cells in which no sample has a score."""
    cells = sorted(
        (cell for cell in task.cells if cell.depth is None and cell.length > 0),
        key=lambda cell: cell.length,
    )
    return {cell.length: cell.score for cell in cells if cell.score is not None}


def score_figure(
    task: TaskResult, reference: TaskResult | None, windows: Windows
) -> tuple[Figure, str]:
    """Score of a task by length with 95 % bands, and its text alternative."""
    figure, axes = _new_figure(PANEL)
    label = [f"Score by length of {task.task}, in percent."]
    for name, result, look in (
        ("Model", task, _MODEL),
        ("Reference", reference, _REFERENCE),
    ):
        scores = {} if result is None else scores_by_length(result)
        if scores:
            _draw_scores(axes, scores, look)
            said = (f"{tokens(length)}: {percent(score.value)}" for length, score in scores.items())
            label.append(f"{name}: {', '.join(said)}.")
    axes.axhline(100 * task.threshold, color=GREY, linewidth=1.0)
    axes.set_ylim(-4, 104)
    axes.set_yticks([0, 25, 50, 75, 100])
    lengths = {cell.length for cell in task.cells if cell.length > 0}
    _scale_tokens(axes, sorted(lengths), max_ticks=6)
    _mark_windows(axes, windows)
    figure.subplots_adjust(left=0.11, right=0.97, top=0.97, bottom=0.12)
    return figure, " ".join(label)


def position_figure(
    model: LossResult, reference: LossResult | None, windows: Windows
) -> tuple[Figure, str]:
    """Mean loss by position in the document, both axes logarithmic, and its text alternative."""
    figure, axes = _new_figure(WIDE)
    label = ["Loss by position in the document, in nats per token."]
    edges: set[int] = set()
    for name, result, look in (("Model", model, _MODEL), ("Reference", reference, _REFERENCE)):
        if result is not None and result.by_position:
            points = sorted(result.by_position, key=lambda point: point.first)
            _draw_losses(axes, [_middle(point) for point in points], points, look)
            edges |= {edge for point in points for edge in (point.first, point.last) if edge}
            label.append(f"{name}: {_said(points)}.")
    _finish_losses(figure, axes, sorted(edges), windows)
    axes.set_xlabel("position in the document (tokens)")
    return figure, " ".join(label)


def context_figure(
    model: LossResult, reference: LossResult | None, windows: Windows
) -> tuple[Figure, str]:
    """Loss of the same targets by context with the fitted power law, and its text alternative."""
    figure, axes = _new_figure(WIDE)
    label = ["Loss of the same tokens by tokens of context, in nats per token."]
    contexts: set[int] = set()
    for name, result, look in (("Model", model, _MODEL), ("Reference", reference, _REFERENCE)):
        if result is None or not result.by_context:
            continue
        points = sorted(result.by_context, key=lambda point: point.first)
        has_fit = result.power_law is not None and result.power_law.problem is None
        line = look | {"linestyle": "none"} if has_fit else look
        _draw_losses(axes, [point.first for point in points], points, line)
        if result.power_law is not None and has_fit:
            _draw_fit(axes, result.power_law, points, look)
        contexts |= {point.first for point in points}
        label.append(f"{name}: {_said(points)}.")
    _finish_losses(figure, axes, sorted(contexts), windows)
    axes.set_xlabel("context (tokens)")
    return figure, " ".join(label)


def _finish_losses(figure: Figure, axes: Axes, ticks: Sequence[int], windows: Windows) -> None:
    """Scale and label a figure of losses by tokens."""
    _scale_losses(axes)
    _scale_tokens(axes, ticks, max_ticks=12)
    _mark_windows(axes, windows)
    axes.set_ylabel("loss (nats per token)")
    figure.subplots_adjust(left=0.12, right=0.97, top=0.97, bottom=0.14)


def _new_figure(size: tuple[float, float]) -> tuple[Figure, Axes]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(style()):
        figure = Figure(figsize=size)
        axes = figure.subplots()
    return figure, axes


def _draw_scores(axes: Axes, scores: Mapping[int, Estimate], look: dict[str, Any]) -> None:
    lengths, estimates = list(scores), list(scores.values())
    axes.plot(lengths, [100 * each.value for each in estimates], markersize=6, **look)
    low, high = [100 * each.low for each in estimates], [100 * each.high for each in estimates]
    axes.fill_between(lengths, low, high, color=look["color"], alpha=0.2, linewidth=0)


def _draw_losses(
    axes: Axes, places: Sequence[float], points: Sequence[LossPoint], look: dict[str, Any]
) -> None:
    axes.plot(places, [point.loss.value for point in points], markersize=6, **look)
    low, high = [point.loss.low for point in points], [point.loss.high for point in points]
    axes.fill_between(places, low, high, color=look["color"], alpha=0.2, linewidth=0)


def _draw_fit(axes: Axes, law: PowerLaw, points: Sequence[LossPoint], look: dict[str, Any]) -> None:
    """The fitted curve, and gamma with its interval: the loss that no context would go below."""
    if law.alpha is None or law.beta is None or law.gamma is None:
        return
    first, last = points[0].first, points[-1].first
    places = [first * (last / first) ** (step / 60) for step in range(61)]
    alpha, beta, gamma = law.alpha.value, law.beta.value, law.gamma.value
    curve = [(alpha / place) ** beta + gamma for place in places]
    axes.plot(places, curve, color=look["color"], linestyle=look["linestyle"], linewidth=1.5)
    axes.axhline(gamma, color=look["color"], dashes=(6, 2, 1, 2), linewidth=1.0)
    if law.gamma.low > 0:
        axes.axhspan(law.gamma.low, law.gamma.high, color=look["color"], alpha=0.08, linewidth=0)


def _middle(point: LossPoint) -> float:
    """Middle of a band of positions on a logarithmic axis."""
    return math.sqrt((point.first or point.last / 2) * point.last)


def _said(points: Sequence[LossPoint]) -> str:
    return ", ".join(f"{tokens(point.last)}: {number(point.loss.value)}" for point in points)


def _scale_losses(axes: Axes) -> None:
    """A logarithmic axis with ticks at round numbers, however small its range is."""
    from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.4g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _scale_tokens(axes: Axes, values: Sequence[int], max_ticks: int) -> None:
    """A logarithmic axis of tokens with some of the values as ticks, the largest among them."""
    axes.set_xscale("log", base=2)
    every = max(1, math.ceil(len(values) / max_ticks))
    ticks = list(reversed(values[::-1][::every]))
    axes.set_xticks(ticks, [tokens(tick) for tick in ticks])
    axes.minorticks_off()


def _mark_windows(axes: Axes, windows: Windows) -> None:
    low, high = axes.get_xlim()
    for window, look in ((windows.base, _BASE_WINDOW), (windows.evaluated, _WINDOW)):
        if window is not None and low <= window <= high:
            axes.axvline(window, **look)
    axes.set_xlim(low, high)
