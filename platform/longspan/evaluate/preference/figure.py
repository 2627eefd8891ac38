"""Win, tie and loss as bars with intervals, in the manner of the paper's Figure 3, and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from longspan.evaluate.preference.votes import Preference
from longspan.evaluate.report.numbers import percent, percent_interval
from longspan.observe.figures import BLUE, GREY, ORANGE, rendered, style
from longspan.observe.tables import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def preference_text(result: Preference) -> str:
    """Return the result as a table."""
    first, second = result.models
    rows = [
        (name, percent(estimate.value), percent_interval(estimate))
        for name, estimate in (
            (f"win rate of {first}", result.win_rate),
            (f"{first} better", result.win),
            ("equal", result.tie),
            (f"{second} better", result.loss),
        )
    ]
    agreement = "" if result.agreement is None else f", agreement {percent(result.agreement)} %"
    counted = (
        f"{result.win_rate.n:,} examples, {result.votes:,} votes of {result.raters:,} raters{agreement}; "
        "ties count as half a win"
    )
    return f"{table(rows, ('', 'percent', '95 % interval'))}\n\n{counted}"


def preference_figure(result: Preference) -> bytes:
    """Return the result as an SVG file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    first, second = result.models
    bars = (
        (f"{first} better", result.win, BLUE),
        ("equal", result.tie, GREY),
        (f"{second} better", result.loss, ORANGE),
    )
    with rc_context(style()):
        figure = Figure(figsize=(8, 2.6))
        _draw(figure, bars)
        figure.text(0.012, 0.97, f"{first} against {second}", va="top", fontsize=14, weight="bold")
        figure.subplots_adjust(left=0.3, right=0.94, top=0.82, bottom=0.22)
    return rendered(figure, "svg")


def _draw(figure: Figure, bars: tuple) -> None:
    axes = figure.subplots()
    for row, (_, estimate, color) in enumerate(bars):
        value, low, high = (100 * end for end in (estimate.value, estimate.low, estimate.high))
        axes.barh(row, value, color=color, height=0.6)
        axes.errorbar(value, row, xerr=[[value - low], [high - value]], color="#222222", capsize=4)
        axes.annotate(f"{value:.1f}", (high, row), (6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("examples (percent, 95 % interval)")
