"""The plots of a run: loss over its updates; held-out loss by position, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from longspan.observe.figures import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PlotTitle,
    legend_above,
    new_figure,
    rendered,
    style,
)
from longspan.observe.tracker import Record
from longspan.storage.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# With more updates than this the line is thin, with its running median over it.
_MANY_UPDATES = 60


def write_plots(
    store: Store, path: str, records: Sequence[Record], title: PlotTitle
) -> dict[str, str]:
    """Write every plot that the records suffice for, as SVG and PNG, below ``path``.

    Returns:
        The address of each object written, by its name ("training-loss.png", ...).
    """
    figures: dict[str, Figure] = {}
    if _of_kind(records, "update"):
        figures["training-loss"] = training_figure(records, title)
    if any(record.get("positions") for record in _of_kind(records, "heldout")):
        figures["loss-by-position"] = positions_figure(records, title)
    written = {}
    for name, figure in figures.items():
        for kind in ("svg", "png"):
            target = f"{path}/{name}.{kind}"
            store.write_bytes(target, rendered(figure, kind))
            written[f"{name}.{kind}"] = store.uri(target)
    return written


def training_figure(records: Sequence[Record], title: PlotTitle) -> Figure:
    """Training and held-out loss over updates, the learning rate below, row lengths between."""
    from matplotlib import rc_context

    updates, heldout = _of_kind(records, "update"), _of_kind(records, "heldout")
    assert updates, "a plot of training needs update records"
    last = max(_values(updates, "update"))
    figure = new_figure("Loss during training", title)
    with rc_context(style()):
        loss_axes, rate_axes = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        _draw_training_loss(loss_axes, updates)
        _draw_heldout(loss_axes, heldout)
        _limit_losses(loss_axes, [*updates, *heldout])
        loss_axes.set_ylabel("loss (nats per token)")
        _draw_learning_rate(rate_axes, updates)
        rate_axes.set_xlim(-0.012 * last, 1.012 * last)
        _draw_lengths(loss_axes, rate_axes, updates)
        legend_above(figure, loss_axes)
    return figure


def positions_figure(records: Sequence[Record], title: PlotTitle) -> Figure:
    """Held-out loss by position in the window: before (original, start) and after (end)."""
    from matplotlib import rc_context

    heldout = [record for record in _of_kind(records, "heldout") if record.get("positions")]
    assert heldout, "a plot by position needs held-out records with positions"
    edges = _band_edges(heldout)
    figure = new_figure("Held-out loss by position in the window", title)
    with rc_context(style()):
        axes = figure.subplots()
        low, high = _limits_by_position(heldout)
        for record, label, look in _before_and_after(heldout):
            _draw_bands(axes, record["positions"], label, look, high)
        if title.base_window is not None and edges[0] < title.base_window < edges[-1]:
            label = f"base model's window: {title.base_window:,}"
            axes.axvline(title.base_window, color=GREY, dashes=(1, 1), linewidth=1.5, label=label)
        axes.set_ylim(low, high)
        _scale_by_bands(axes, edges)
        axes.set_ylabel("loss (nats per token)")
        legend_above(figure, axes)
    return figure


def _draw_training_loss(axes: Axes, updates: Sequence[Record]) -> None:
    x, y = np.array(_values(updates, "update")), np.array(_values(updates, "loss"))
    if len(x) > _MANY_UPDATES:
        # As pixels, also in SVG: a path of every update of a long run would be megabytes.
        look = {"linewidth": 1.0, "alpha": 0.4, "rasterized": True}
        axes.plot(x, y, color=BLUE, label="training, each update", **look)
        middle = running_median(y, len(y) // 30 | 1)
        axes.plot(x, middle, color=BLUE, label="training, running median")
    else:
        axes.plot(x, y, color=BLUE, marker=".", label="training")
    missing = x[~np.isfinite(y)]
    if len(missing):
        label = f"not finite: {len(missing):,} of {len(x):,} updates"
        _mark_at(axes, missing, 0.03, "x", label)


def _draw_heldout(axes: Axes, heldout: Sequence[Record]) -> None:
    looks = (
        ("held-out", ORANGE, "o--", [r for r in heldout if r.get("phase") != "original"]),
        (
            "held-out, before new positions",
            GREEN,
            "D",
            [r for r in heldout if r.get("phase") == "original"],
        ),
    )
    for label, color, line, records in looks:
        if records:
            x, y = _values(records, "update"), _values(records, "loss")
            axes.plot(x, y, line, color=color, label=label, zorder=3)


def _limit_losses(axes: Axes, records: Sequence[Record]) -> None:
    """Keep one spike, or a base model far off, from squeezing everything else flat."""
    x, y = np.array(_values(records, "update")), np.array(_values(records, "loss"))
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if not len(y):
        return
    low, usual = float(y.min()), float(np.quantile(y, 0.95))
    room = 0.06 * max(usual - low, 0.01)
    most = usual + 1.5 * (usual - low) + room
    above = y > most
    axes.set_ylim(low - room, most if above.any() else float(y.max()) + room)
    if above.any():
        label = f"above the plot: {above.sum():,}, highest {y.max():.3g}"
        _mark_at(axes, x[above], 0.97, "^", label)


def _mark_at(axes: Axes, x: np.ndarray, height: float, marker: str, label: str) -> None:
    """Markers at a height given as a share of the axes, for values that have no place in it."""
    transform = axes.get_xaxis_transform()
    axes.plot(x, [height] * len(x), marker, color=INK, transform=transform, label=label, zorder=4)


def _draw_learning_rate(axes: Axes, updates: Sequence[Record]) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    x, y = _values(updates, "update"), _values(updates, "learning_rate")
    axes.plot(x, y, color=INK, marker="." if len(x) <= _MANY_UPDATES else "")
    axes.set_ylabel("learning\nrate")
    peak = max((rate for rate in y if rate > 0), default=1.0)
    axes.set_ylim(0, 1.1 * peak)
    axes.set_yticks([0, peak], ["0", _short(peak)])
    axes.set_xlabel("update")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _short(rate: float) -> str:
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def _draw_lengths(loss_axes: Axes, rate_axes: Axes, updates: Sequence[Record]) -> None:
    """A line where the row length changes, and each length's name between the two panels."""
    starts = length_stages(updates)
    last = updates[-1]["update"]
    for index, (begin, length) in enumerate(starts):
        end = starts[index + 1][0] if index + 1 < len(starts) else last
        if index:
            for axes in (loss_axes, rate_axes):
                axes.axvline(begin, color=GREY, dashes=(1, 1), linewidth=1.5)
        share = (end - begin) / last
        if share > 0.3:
            _name_stage(rate_axes, begin, f"rows of {length:,} tokens")
        elif share > 0.12:
            _name_stage(rate_axes, begin, f"{length:,}")


def _name_stage(axes: Axes, begin: float, name: str) -> None:
    axes.annotate(
        name,
        xy=(begin, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(4, 4),
        textcoords="offset points",
        fontsize=11,
    )


def length_stages(updates: Sequence[Record]) -> list[tuple[int, int]]:
    """Where each row length begins: (last update of the length before, or 0; tokens per row)."""
    starts: list[tuple[int, int]] = []
    before = 0
    for record in updates:
        length = record.get("length")
        if length and (not starts or starts[-1][1] != length):
            starts.append((before, int(length)))
        before = record["update"]
    return starts


def running_median(values: np.ndarray, width: int) -> np.ndarray:
    """Median of the finite ones of ``width`` values around each; nan where there are none."""
    import pandas

    finite = pandas.Series(np.where(np.isfinite(values), values, math.nan))
    around = finite.rolling(width, center=True, min_periods=1)
    return around.median().to_numpy()


def _before_and_after(heldout: Sequence[Record]) -> list[tuple[Record, str, dict[str, Any]]]:
    latest: dict[str, Record] = {record["phase"]: record for record in heldout}
    looks = {
        "original": ("before: base model", GREEN, "D", ":"),
        "start": ("before: base model, new positions", ORANGE, "^", "--"),
        "end": ("after training", BLUE, "o", "-"),
    }
    if "end" not in latest and "during" in latest:
        looks["during"] = (f"after {latest['during']['update']} updates", BLUE, "o", "-")
    return [
        (latest[phase], label, {"color": color, "marker": marker, "linestyle": dash})
        for phase, (label, color, marker, dash) in looks.items()
        if phase in latest
    ]


def _draw_bands(
    axes: Axes, positions: Sequence[Any], label: str, look: dict[str, Any], high: float
) -> None:
    bands = sorted((first, last, loss) for first, last, loss, _ in positions)
    # A band's point stands in its middle, as the logarithmic axis shows it.
    middles = [math.sqrt((first or last / 2) * last) for first, last, _ in bands]
    losses = [loss for _, _, loss in bands]
    if max(losses) > high:
        label = f"{label} (rises to {max(losses):.3g})"
    axes.plot(middles, losses, label=label, **look)


def _limits_by_position(heldout: Sequence[Record]) -> tuple[float, float]:
    """Room for what was trained; a base model beyond its window may leave the plot at the top."""
    losses = {
        record["phase"]: [loss for _, _, loss, _ in record["positions"] if math.isfinite(loss)]
        for record in heldout
    }
    every = [loss for band in losses.values() for loss in band]
    trained = [loss for phase in losses if phase != "original" for loss in losses[phase]] or every
    if not every:
        return 0.0, 1.0
    low, high = min(every), max(trained)
    span = max(high - low, 0.05)
    return low - 0.06 * span, min(max(every) + 0.06 * span, high + span)


def _scale_by_bands(axes: Axes, edges: Sequence[int]) -> None:
    # A logarithmic axis has no zero: the first band is shown as wide as an octave.
    left = edges[1] / 2 if edges[0] == 0 else edges[0]
    axes.set_xscale("log", base=2)
    axes.set_xlim(left, edges[-1])
    axes.set_xticks([edge or left for edge in edges], [_edge_label(edge) for edge in edges])
    axes.minorticks_off()
    axes.set_xlabel("position in the document, in tokens (a point: the band between two ticks)")


def _band_edges(heldout: Sequence[Record]) -> list[int]:
    edges = {edge for record in heldout for band in record["positions"] for edge in band[:2]}
    return sorted(int(edge) for edge in edges)


def _edge_label(edge: int) -> str:
    return f"{edge // 1024}k" if edge >= 1024 and edge % 1024 == 0 else f"{edge:,}"


def _of_kind(records: Sequence[Record], kind: str) -> list[Record]:
    return [record for record in records if record.get("kind") == kind]


def _values(records: Sequence[Record], key: str) -> list[float]:
    return [float(record.get(key, math.nan)) for record in records]
