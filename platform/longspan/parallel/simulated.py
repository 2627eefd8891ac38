"""Ranks that share rows as threads of one process, to try sequence parallelism without a process group."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier, BrokenBarrierError
from typing import TypeVar

import torch
from torch import Tensor

TIMEOUT_S = 60.0
"""For which a rank waits for the others to exchange."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class SimulatedRank:
    """One of ``degree`` threads; exchanges what `SequenceGroup` does, without gradients."""

    rank: int
    degree: int
    _barrier: Barrier
    _sent: list[Tensor] = field(repr=False)

    def slice_of(self, length: int) -> slice:
        """Return this rank's tokens of a row of ``length``."""
        share = length // self.degree
        return slice(self.rank * share, (self.rank + 1) * share)

    def all_to_all(self, tensor: Tensor) -> Tensor:
        """Exchange the parts of [degree, ...]; see `SequenceGroup.all_to_all`."""
        self._sent[self.rank] = tensor
        self._barrier.wait(TIMEOUT_S)
        received = torch.stack([sent[self.rank] for sent in self._sent])
        self._barrier.wait(TIMEOUT_S)
        return received


def run_ranks(degree: int, function: Callable[[SimulatedRank], Result]) -> list[Result]:
    """Call ``function`` once for each of ``degree`` ranks, in threads; return the results by rank.

    Raises:
        Exception: a rank's, the first that is not a consequence of another's.
    """
    barrier = Barrier(degree)
    sent = [torch.empty(0)] * degree

    def run(rank: int) -> Result:
        try:
            return function(SimulatedRank(rank, degree, barrier, sent))
        except BaseException:
            barrier.abort()  # The others would wait for it.
            raise

    with ThreadPoolExecutor(degree) as threads:
        futures = [threads.submit(run, rank) for rank in range(degree)]
    errors = [error for future in futures if (error := future.exception())]
    for error in errors:
        if not isinstance(error, BrokenBarrierError):
            raise error
    return [future.result() for future in futures]
