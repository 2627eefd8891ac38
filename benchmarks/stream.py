"""Stream: rows a second that Ray Data delivers to idle workers, against reading them in-process.

Idle workers take each batch and drop it. The time runs from the first batch to the last, so that
the start of the stream, printed apart, is no part of the rate. With --run, also the share of a
run's steps that was spent waiting for data.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import (
    local_ray,
    machine,
    parse,
    parser,
    sample_shards,
    table,
    temporary_store,
    updates_of,
)
from longspan.order.order import Order, Stage
from longspan.stream.batch import Batch
from longspan.stream.ray_data import StreamPlan, batches, dataset, local_batches

WEIGHTS = (0.5, 0.2, 0.3)
"""Of the samples: the quickstart's."""


@dataclass(frozen=True)
class Taken:
    """What one consumer saw."""

    first: float
    """Time of its first batch, in seconds since the epoch."""
    last: float
    rows: int
    """Rows after its first batch."""


def take_all(delivered: Iterable[Batch]) -> Taken:
    """Take every batch and do nothing with it."""
    first = last = 0.0
    rows = 0
    for batch in delivered:
        last = time.time()
        if not first:
            first = last
        else:
            rows += len(batch.tokens)
    return Taken(first, last, rows)


def streamed(plan: StreamPlan, consumers: int) -> tuple[float, float]:
    """Rows a second through Ray Data to so many idle workers, and seconds to the first batch."""
    import ray

    began = time.time()
    splits = dataset(plan, consumers).streaming_split(consumers, equal=False)
    consume: Any = ray.remote(num_cpus=0, max_calls=1)(consumer)
    taken: list[Taken] = ray.get(
        [consume.remote(split, plan, rank, consumers) for rank, split in enumerate(splits)]
    )
    first = min(item.first for item in taken)
    rate = sum(item.rows for item in taken) / (max(item.last for item in taken) - first)
    return rate, first - began


def consumer(split: Any, plan: StreamPlan, rank: int, consumers: int) -> Taken:
    """One idle worker."""
    return take_all(batches(split, plan, rank, consumers))


def in_process(plan: StreamPlan) -> float:
    """Rows a second when this process reads all of them itself."""
    taken = take_all(local_batches(plan, 0, 1))
    return taken.rows / (taken.last - taken.first)


def compare(plan: StreamPlan, consumers: int, rounds: int) -> tuple[float, float, float]:
    """Medians: rows a second streamed and in-process, and seconds to the first batch."""
    found = []
    for _ in range(rounds):
        found.append((*streamed(plan, consumers), in_process(plan)))
    rate, start, local = (median(column) for column in zip(*found, strict=True))
    return rate, local, start


def waiting(root: str, run: str) -> str:
    """A table of what a run's steps spent waiting for data."""
    updates = updates_of(root, run)
    rows = []
    for name, part in (("first update", updates[:1]), ("all others", updates[1:])):
        shares = [item["data_wait_seconds"] / item["step_seconds"] for item in part]
        waited = sum(item["data_wait_seconds"] for item in part)
        spent = sum(item["step_seconds"] for item in part)
        if part:
            total, middle = f"{waited / spent:.2%}", f"{median(shares):.2%}"
            rows.append((name, len(part), f"{spent:.1f}", f"{waited:.3f}", total, middle))
    header = (f"run {run}", "updates", "seconds", "waited", "share", "median share")
    return table(header, rows)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096])
    options.add_argument("--consumers", type=int, nargs="+", default=[1, 2])
    options.add_argument("--rows", type=int, default=8, help="rows of an update, per worker")
    options.add_argument("--updates", type=int, default=4000, help="updates of one stream")
    options.add_argument("--cpus", type=int, default=2, help="CPUs of the local Ray")
    options.add_argument("--rounds", type=int, default=3, help="times that each side runs")
    options.add_argument(
        "--run",
        nargs=2,
        metavar=("STORE_ROOT", "RUN_NAME"),
        help="also: a run's waiting for data, such as --run .longspan/store quickstart",
    )
    chosen = parse(options)
    rows = []
    with temporary_store() as store, local_ray(chosen.cpus):
        manifests = sample_shards(store, chosen.model, chosen.samples)
        blocks = [[block.tokens for block in manifest.train] for manifest in manifests]
        for length in chosen.lengths:
            for consumers in chosen.consumers:
                stage = Stage(length, chosen.rows * consumers, chosen.updates)
                order = Order(blocks, WEIGHTS, [stage], seed=0)
                plan = StreamPlan(store, manifests, order, 0, document_mask=True)
                rate, local, start = compare(plan, consumers, chosen.rounds)
                numbers = (f"{rate:,.0f}", f"{rate * length:,.0f}", f"{local:,.0f}")
                rows.append((length, consumers, *numbers, f"{rate / local:.2f}", f"{start:.1f}"))
    header = (
        "row length",
        "workers",
        "rows/s",
        "tokens/s",
        "in-process rows/s",
        "ratio",
        "start, s",
    )
    print(table(header, rows))
    print(
        f"\n{chosen.updates} updates of {chosen.rows} rows per worker; medians of {chosen.rounds}; "
        f"{machine()}"
    )
    if chosen.run:
        print("\n" + waiting(*chosen.run))


if __name__ == "__main__":
    main()
