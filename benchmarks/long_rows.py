"""Long rows: peak memory of a worker and time of an update, by row length, workers that share a row, and memory saver.

The project's engine (ZeRO stage 2, fp32) trains a tiny Llama on rows packed from documents, in worker processes on
CPUs, without Ray. Each measurement is made in new processes, one thread each. The run ends with an error if losses or
gradient norms of the same rows differ between measurements.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import machine, table
from benchmarks.long_row_worker import HEADS, SAVERS, WINDOW, Case, Model, make_model, measure

MB = 1e6
TOLERANCE = 1e-5
"""Largest relative difference of losses and gradient norms."""
WORKERS_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "DS_ACCELERATOR": "cpu",
    # DeepSpeed requires it, however the process group was formed.
    "LOCAL_RANK": "0",
    # Freed tensors return to the system at once, so that resident memory is that of live tensors.
    "MALLOC_MMAP_THRESHOLD_": str(2**18),
    "MALLOC_ARENA_MAX": "1",
}
PRELOAD = [
    "benchmarks.long_row_worker",
    "longspan.train.engine",
    "deepspeed.runtime.engine",
    "deepspeed.runtime.zero.stage_1_and_2",
    "transformers.models.llama.modeling_llama",
]
EXAMPLES = """
examples:
  python benchmarks/long_rows.py --quick
  python benchmarks/long_rows.py --lengths 32768 131072 --degrees 1 4 --savers none checkpointed
"""


def run_workers(context: Any, count: int, function: Any, *arguments: Any) -> list[Any]:
    """Call ``function(rank, *arguments)`` in ``count`` new processes; results by rank."""
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [
        context.Process(target=_worker, args=(sender, function, rank, *arguments))
        for rank, (_, sender) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    for _, sender in pipes:
        sender.close()
    waiting = {receiver: rank for rank, (receiver, _) in enumerate(pipes)}
    results: dict[int, Any] = {}
    try:
        while waiting:
            for receiver in wait(list(waiting)):
                rank = waiting.pop(receiver)  # pyrefly: ignore
                try:
                    results[rank] = receiver.recv()  # pyrefly: ignore
                except EOFError:
                    raise SystemExit(f"worker {rank} of {count} failed, see above") from None
    finally:
        for process in processes:
            if len(results) < count:
                process.kill()
            process.join()
    return [results[rank] for rank in range(count)]


def _worker(sender: Connection, function: Any, rank: int, *arguments: Any) -> None:
    sender.send(function(rank, *arguments))
    sender.close()
    sys.stderr.flush()
    os._exit(0)  # Gloo's threads may still hold tensors.


def measure_all(
    cases: Sequence[Case], model: Model, updates: int
) -> dict[Case, tuple[float, float]]:
    """Peak memory of the worker with the most, in MB, and median seconds of an update, by case."""
    os.environ.update(WORKERS_ENVIRONMENT)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    found: dict[Case, tuple[float, float]] = {}
    expected: dict[int, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory(prefix="longspan-benchmark-") as name:
        folder = Path(name)
        run_workers(context, 1, make_model, folder / "model", model)
        for number, case in enumerate(cases):
            arguments = (folder / "model", folder / f"group-{number}", case)
            results = run_workers(
                context, case.degree, measure, *arguments, model.document, updates
            )
            numbers = results[0].numbers
            require_equal(case, numbers, expected.setdefault(case.length, numbers))
            peak = max(result.peak_bytes for result in results) / MB
            found[case] = (peak, median(results[0].seconds))
            print(f"{case}: {peak:.0f} MB, {found[case][1]:.2f} s", file=sys.stderr, flush=True)
    return found


def require_equal(case: Case, numbers: Sequence[float], expected: Sequence[float]) -> None:
    """End the run if loss or gradient norm are not those of the first case of as long rows."""
    if not all(map(lambda a, b: math.isclose(a, b, rel_tol=TOLERANCE), numbers, expected)):
        raise SystemExit(f"{case}: loss and gradient norm are {numbers}, not {expected}")


def lines(
    found: dict[Case, tuple[float, float]], degrees: Sequence[int]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table: one row per length and saver."""
    first, *others = degrees
    header = ["tokens of a row, saver"]
    header += [f"MB per worker, {degree}" for degree in degrees]
    header += [f"s per update, {first}", *(f"{degree}, relative" for degree in others)]
    rows = []
    for length, saver in dict.fromkeys((case.length, case.saver) for case in found):
        peaks, seconds = zip(
            *(found[Case(length, saver, degree)] for degree in degrees), strict=True
        )
        row = [f"{length:,}, {saver}", *(f"{peak:,.0f}" for peak in peaks)]
        row += [f"{seconds[0]:.2f}", *(f"{each / seconds[0]:.2f}" for each in seconds[1:])]
        rows.append(row)
    return header, rows


class _Format(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Examples as they are, and default values."""


def chosen() -> argparse.Namespace:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLES, formatter_class=_Format)
    options.add_argument(
        "--lengths", type=int, nargs="+", default=[8192, 32768, 131072], help="tokens of a row"
    )
    options.add_argument(
        "--degrees", type=int, nargs="+", default=[1, 2, 4], choices=[1, 2, 4], help="workers"
    )
    options.add_argument("--savers", nargs="+", default=SAVERS, choices=SAVERS)
    options.add_argument("--document", type=int, default=1024, help="average tokens of a document")
    options.add_argument("--hidden", type=int, default=64, help="size of the model")
    options.add_argument("--layers", type=int, default=2, help="of the model")
    options.add_argument("--updates", type=int, default=3, help="the first one is not timed")
    options.add_argument(
        "--quick", action="store_true", help="rows of 4,096 and 16,384 tokens, at degrees 1 and 2"
    )
    asked = options.parse_args()
    if asked.quick:
        asked.lengths, asked.degrees, asked.updates = [4096, 16384], [1, 2], 2
    if wrong := [length for length in asked.lengths if length < WINDOW or length % HEADS]:
        options.error(f"--lengths: {wrong[0]} is not a multiple of {HEADS} from {WINDOW} on")
    if asked.updates < 2 or asked.document < 2 or asked.hidden % (2 * HEADS):
        options.error(f"--updates and --document: at least 2; --hidden: a multiple of {2 * HEADS}")
    return asked


def main() -> None:
    asked = chosen()
    model = Model(asked.hidden, asked.layers, asked.document)
    cases = [Case(*case) for case in itertools.product(asked.lengths, asked.savers, asked.degrees)]
    found = measure_all(cases, model, asked.updates)
    print(table(*lines(found, asked.degrees)))
    print(
        f"\nMedians of {asked.updates - 1} updates of one row; documents of {model.document} tokens on average; Llama "
        f"of {model.layers} layers and hidden size {model.hidden}, fp32; one thread per worker; {machine()}"
    )


if __name__ == "__main__":
    main()
