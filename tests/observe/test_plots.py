import io
import math
import xml.etree.ElementTree as ElementTree
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from longspan.observe.figures import PlotTitle, rendered
from longspan.observe.plots import (
    length_stages,
    positions_figure,
    running_median,
    training_figure,
    write_plots,
)
from longspan.storage.store import Store

TITLE = PlotTitle("quickstart", 4096, 500_000.0, base_window=512)
LONG = PlotTitle("a-run-with-a-very-long-name-" * 3, 524_288, 1.28e8, base_window=8192)


def spiked(records):
    """One update far above the rest, and some that are no numbers."""
    odd = {5: 90.0, 7: math.nan, 8: math.inf}
    return [
        record | {"loss": odd.get(record["update"], record["loss"])}
        if record["kind"] == "update"
        else record
        for record in records
    ]


def shown_texts(figure):
    """Every text of a figure with the box it is drawn in, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        texts += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = axis.get_view_interval()
            ticks = axis.get_major_ticks()
            texts += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
    renderer = canvas.get_renderer()
    return [
        (text.get_text(), text.get_window_extent(renderer))
        for text in texts
        if text.get_visible() and text.get_text()
    ]


RUNS = {
    "short": (6, {1: 4096}, TITLE),
    "switch": (40, {1: 1024, 25: 4096}, TITLE),
    "long": (3000, {1: 4096, 500: 32_768, 1200: 65_536, 1300: 524_288}, LONG),
}


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("run", RUNS)
def test_no_text_is_cut_off_or_runs_into_another_or_covers_data(make_run, run, odd):
    updates, lengths, title = RUNS[run]
    records = make_run(updates, lengths, base_window=title.base_window)
    records = spiked(records) if odd else records
    for figure in (training_figure(records, title), positions_figure(records, title)):
        texts = shown_texts(figure)
        for text, box in texts:
            assert box.x0 >= 0 and box.y0 >= 0, f"cut off: {text!r}"
            assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, f"cut off: {text!r}"
        for (one, first), (other, second) in combinations(texts, 2):
            assert not first.overlaps(second), f"{one!r} runs into {other!r}"
        legend = figure.legends[0].get_window_extent()
        assert not any(legend.overlaps(axes.bbox) for axes in figure.axes)


def test_titles_name_run_window_and_base(make_run):
    records = make_run(6, {1: 4096})
    for figure in (training_figure(records, TITLE), positions_figure(records, TITLE)):
        texts = [text for text, _ in shown_texts(figure)]
        assert "run quickstart: window 4,096 tokens, RoPE base 500,000" in texts


def test_length_switches_are_marked_and_named(make_run):
    figure = training_figure(make_run(40, {1: 1024, 25: 4096}), TITLE)
    texts = [text for text, _ in shown_texts(figure)]
    assert "rows of 1,024 tokens" in texts and "rows of 4,096 tokens" in texts
    for axes in figure.axes:
        assert [24, 24] in [np.asarray(line.get_xdata()).tolist() for line in axes.lines]


def test_length_stages_begin_after_the_update_before():
    records = [{"update": update, "length": 1024 if update < 5 else 4096} for update in range(2, 8)]
    assert length_stages(records) == [(0, 1024), (4, 4096)]


def test_one_spike_does_not_squeeze_the_rest(make_run):
    figure = training_figure(spiked(make_run(40, {1: 1024})), TITLE)
    assert figure.axes[0].get_ylim()[1] < 10
    texts = [text for text, _ in shown_texts(figure)]
    assert "above the plot: 1, highest 90" in texts
    assert "not finite: 2 of 40 updates" in texts


def test_position_axis_is_logarithmic_with_the_bands_edges_named(make_run):
    axes = positions_figure(make_run(6, {1: 4096}), TITLE).axes[0]
    assert axes.get_xscale() == "log"
    labels = [tick.get_text() for tick in axes.get_xticklabels()]
    assert labels == ["0", "64", "128", "256", "512", "1k", "2k", "4k"]
    assert [line.get_label() for line in axes.lines[:3]] == [
        "before: base model (rises to 11.2)",
        "before: base model, new positions",
        "after training",
    ]


def test_every_line_has_its_own_colour_dash_and_marker(make_run):
    lines = positions_figure(make_run(6, {1: 4096}), TITLE).axes[0].lines[:3]
    for look in ("get_color", "get_linestyle", "get_marker"):
        assert len({getattr(line, look)() for line in lines}) == 3


def test_running_median_ignores_what_is_no_number():
    values = np.array([1.0, 2.0, math.nan, 4.0, 100.0, 6.0, 7.0, math.inf])
    assert running_median(values, 3)[1] == 1.5
    assert running_median(values, 3)[5] == 7.0
    assert np.isnan(running_median(np.array([math.nan] * 3), 3)).all()


def test_plots_are_written_as_svg_and_png(make_run, tmp_path):
    store = Store(str(tmp_path))
    written = write_plots(store, "runs/x/plots", make_run(20, {1: 1024, 11: 4096}), TITLE)
    assert sorted(written) == [
        "loss-by-position.png",
        "loss-by-position.svg",
        "training-loss.png",
        "training-loss.svg",
    ]
    for name, address in written.items():
        data = store.read_bytes(f"runs/x/plots/{name}")
        assert address == store.uri(f"runs/x/plots/{name}")
        if name.endswith(".png"):
            assert Image.open(io.BytesIO(data)).size == (1600, 1000)
        else:
            assert ElementTree.fromstring(data).tag.endswith("svg")


def test_what_there_are_no_records_for_is_not_drawn(make_run, tmp_path):
    store = Store(str(tmp_path))
    updates = [record for record in make_run(3, {1: 1024}) if record["kind"] == "update"]
    assert sorted(write_plots(store, "plots", updates, TITLE)) == [
        "training-loss.png",
        "training-loss.svg",
    ]
    assert write_plots(store, "none", [], TITLE) == {}


def test_the_same_records_make_the_same_svg(make_run):
    records = make_run(5, {1: 1024})
    first, second = (rendered(training_figure(records, TITLE), "svg") for _ in range(2))
    assert first == second
