"""Draws docs/order.svg from the real order of two small sources: python docs/draw_order.py."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from longspan.order.order import Order, Stage
from longspan.stream.batch import rank_share

DOCUMENTS = [
    [[5, 2, 4], [9], [3, 3, 2, 3], [6, 4], [2, 2, 7], [8, 3]],
    [[2, 1, 2], [1, 3], [2, 2], [3, 2]],
]
"""Lengths of the documents of every block, per source."""
NAMES = ("books", "web")
SHADES = (plt.get_cmap("Blues"), plt.get_cmap("Oranges"))
WINDOW = 3
HEIGHT = 0.62


def box(axes: Axes, x: float, width: float, y: float, color: object, text: str = "") -> None:
    axes.barh(y, width, HEIGHT, x, color=color, edgecolor="white", linewidth=1.2)
    axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=8, color="#222222")


def bracket(axes: Axes, x: float, width: float, y: float, text: str) -> None:
    axes.plot(
        [x + 0.1, x + 0.1, x + width - 0.1, x + width - 0.1],
        [y, y - 0.1, y - 0.1, y],
        color="#555555",
        lw=0.9,
    )
    axes.text(x + width / 2, y - 0.16, text, ha="center", va="top", fontsize=7.5, color="#444444")


def shade(source: int, block: int) -> object:
    return SHADES[source](0.25 + 0.5 * block / len(DOCUMENTS[source]))


def title(axes: Axes, y: float, text: str) -> None:
    axes.text(-1, y, text, ha="right", va="center", fontsize=8.5)


def stored(axes: Axes, y: float, source: int) -> None:
    x = 0
    for number, block in enumerate(DOCUMENTS[source]):
        box(axes, x, sum(block), y, shade(source, number), str(number))
        x += sum(block)


def permuted(axes: Axes, y: float, order: Order, source: int) -> None:
    """An epoch's blocks and windows, and below them its documents, cut into rows."""
    x = 0
    for window in range(-(-len(DOCUMENTS[source]) // WINDOW)):
        blocks = order.window_blocks(source, 0, window)
        first = x
        documents = [(number, size) for number in blocks for size in DOCUMENTS[source][number]]
        for number in blocks:
            box(axes, x, sum(DOCUMENTS[source][number]), y, shade(source, number), str(number))
            x += sum(DOCUMENTS[source][number])
        bracket(axes, first, x - first, y - HEIGHT / 2 - 0.03, f"window {window}")
        at = first
        for place in order.document_order(source, 0, window, len(documents)):
            number, size = documents[place]
            box(axes, at, size, y - 1.25, shade(source, number))
            at += size


def rows(axes: Axes, y: float, order: Order) -> None:
    x = 0
    for index in range(order.num_rows):
        row = order.row(index)
        box(axes, x, row.length, y, SHADES[row.source](0.5), str(index))
        x += row.length


def updates(axes: Axes, y: float, order: Order) -> None:
    x = 0
    for update in range(order.num_updates):
        width = sum(row.length for row in order.rows_of_update(update))
        bracket(axes, x, width, y, f"update {update}")
        x += width


def ranks(axes: Axes, y: float, order: Order, workers: int) -> None:
    greys = ("#c8d6c8", "#e3d9ef", "#f0e2c4", "#cfe3ee")
    x = 0
    for update in range(order.num_updates):
        plans = order.rows_of_update(update)
        for rank in range(workers):
            for number in rank_share(len(plans), rank, workers)[0]:
                box(axes, x, plans[number].length, y, greys[rank], f"{rank}")
                x += plans[number].length


def main() -> None:
    argparse.ArgumentParser(description="Draw docs/order.svg.").parse_args()
    plt.switch_backend("svg")
    plt.rcParams.update({"svg.hashsalt": "order", "svg.fonttype": "none"})
    blocks = [[sum(block) for block in source] for source in DOCUMENTS]
    order = Order(
        blocks, [0.7, 0.3], [Stage(3, 4, 3), Stage(6, 2, 3)], seed=5, window_blocks=WINDOW
    )
    figure, axes = plt.subplots(figsize=(10.5, 5.6))
    stored(axes, 8, 0)
    title(axes, 8, "stored: blocks of\nwhole documents (books)")
    permuted(axes, 6.9, order, 0)
    title(axes, 6.9, "epoch 1: blocks permuted")
    title(axes, 5.65, "documents permuted\nwithin each window")
    total = sum(blocks[0])
    for edge in np.arange(0, total, 3):
        axes.plot([edge, edge], [5.22, 6.08], color="black", lw=0.7)
    axes.text(total + 0.6, 5.65, "cut every S tokens,\non into epoch 2", fontsize=7.5, va="center")
    axes.text(total + 0.6, 8, "(web: the same)", fontsize=7.5, va="center")
    rows(axes, 4.2, order)
    title(axes, 4.2, "the global order of rows:\n70 % books, 30 % web")
    updates(axes, 4.2 - HEIGHT / 2 - 0.03, order)
    width = sum(stage.length * stage.rows_per_update * stage.updates for stage in order.stages)
    axes.text(
        width / 2,
        4.75,
        "longer rows from here on: equal tokens per update",
        fontsize=7.5,
        ha="left",
    )
    for y, workers in ((2.75, 1), (1.95, 2), (1.15, 4)):
        ranks(axes, y, order, workers)
        title(axes, y, f"{workers} worker{'s' if workers > 1 else ''}: row goes to rank")
    axes.set_xlim(-16, width + 2)
    axes.set_ylim(0.6, 8.6)
    axes.axis("off")
    figure.tight_layout(pad=0.2)
    figure.savefig(Path(__file__).with_name("order.svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
