"""A house style for plots: readable at 800 pixels, the same colours for everyone.

Figures are made without pyplot, so nothing global is touched and no display is needed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette (jfly.uni-koeln.de/color): told apart with every common colour blindness.
# Lines also differ in dash and marker, so that grey prints work.
BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#767676", "#222222"

_STYLE = {
    "font.size": 12.0,
    "axes.labelsize": 12.0,
    "xtick.labelsize": 11.0,
    "ytick.labelsize": 11.0,
    "legend.fontsize": 11.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "lines.linewidth": 2.0,
    "lines.markersize": 7.0,
    # Without this every SVG of the same plot would differ in its ids.
    "svg.hashsalt": "longspan",
}


@dataclass(frozen=True)
class PlotTitle:
    """Whose plot it is."""

    run: str
    window: int
    """The window trained for, in tokens."""
    rope_base: float
    base_window: int | None = None
    """The base model's own window, in tokens; marked in plots by position."""

    @property
    def facts(self) -> str:
        """The second line of a title."""
        run = self.run if len(self.run) <= 36 else f"{self.run[:24]}...{self.run[-9:]}"
        return f"run {run}: window {self.window:,} tokens, RoPE base {self.rope_base:,.0f}"


def new_figure(headline: str, title: PlotTitle) -> Figure:
    """An empty figure of 8 by 5 inches under two lines of title."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(8, 5))
        figure.text(0.012, 0.975, headline, va="top", fontsize=15, fontweight="bold")
        figure.text(0.012, 0.912, title.facts, va="top", fontsize=11.5)
    return figure


def legend_above(figure: Figure, axes: Axes) -> None:
    """Name the lines of ``axes`` in two columns between title and plot, where no data can be.

    The plots get the room that is left. The layout is fixed, because matplotlib's automatic one
    squeezes the axes when a legend or a label is wide.
    """
    handles, labels = axes.get_legend_handles_labels()
    rows = -(-len(labels) // 2)
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.135, 0.872),
        ncols=2,
        frameon=False,
        borderpad=0,
        handlelength=2.5,
        columnspacing=2.0,
    )
    top = 0.855 - 0.049 * rows
    figure.subplots_adjust(left=0.14, right=0.96, bottom=0.112, top=top, hspace=0.16)
    for panel in figure.axes:
        middle = (panel.get_position().y0 + panel.get_position().y1) / 2
        panel.yaxis.set_label_coords(0.01, middle, transform=figure.transFigure)
        panel.yaxis.label.set_verticalalignment("top")


def rendered(figure: Figure, kind: str) -> bytes:
    """The figure as "svg" or as "png" (1,600 by 1,000 pixels)."""
    from matplotlib import rc_context

    assert kind in ("svg", "png"), f"plots are svg or png, not {kind}"
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    buffer = io.BytesIO()
    with rc_context(_STYLE):
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    return buffer.getvalue()


def style() -> dict[str, object]:
    """Settings for ``matplotlib.rc_context`` while axes are added to a figure."""
    return dict(_STYLE)
