"""Longest row that fits into a worker's memory, by the estimate of :mod:`longspan.plan.memory`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from longspan.plan.memory import WorkerMemory, Workload, worker_memory

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts

_GRAIN = 1024
_LIMIT = 2**27
"""Tokens; longer rows are not looked for."""


def longest_row(
    facts: ModelFacts,
    workload: Workload,
    stage: int,
    workers: int,
    precision: str,
    is_enough: Callable[[WorkerMemory], bool],
) -> int:
    """Tokens of the longest row of one per micro-batch, in whole 1,024s per worker; 0 if none fits.

    Args:
        facts: of the model.
        workload: everything but the length and the micro-batch.
        stage: of ZeRO.
        workers: all of them.
        precision: "bf16" or "fp32".
        is_enough: whether there is as much memory, on the device and on the host.
    """
    step = _GRAIN * workload.sequence_parallel

    def fits(steps: int) -> bool:
        row = replace(workload, length=steps * step, micro_batch=1)
        return is_enough(worker_memory(facts, row, stage, workers, precision))

    low, high = 0, _LIMIT // step
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low * step
