"""Host of the training loop: the interface to Ray Train, torchrun, or a single process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from longspan.observe.tracker import Tracker
    from longspan.parallel.groups import SequenceGroup
    from longspan.stream.batch import Batch


class Restart(Exception):
    """The workers have to start again, and go on from the latest checkpoint; says why."""


@dataclass(frozen=True)
class RescaleRequest:
    """A reason to have a checkpoint now.

    Attributes:
        reason: in words.
        leave: whether the group is to start again, with other workers.
    """

    reason: str
    leave: bool


class Host(Protocol):
    """One worker's surroundings. A process group of ``world_size`` ranks exists already."""

    @property
    def rank(self) -> int:
        """This worker's number, 0 first."""
        ...

    @property
    def world_size(self) -> int:
        """How many workers there are."""
        ...

    @property
    def group(self) -> SequenceGroup:
        """The workers that share rows with this one."""
        ...

    def batches(self, first_update: int) -> Iterator[Batch]:
        """The rows of this worker's group of every update from ``first_update`` on."""
        ...

    def notice(self) -> RescaleRequest | None:
        """A reason to have a checkpoint now, the same on all ranks, which all call it."""
        ...

    def log(self, line: str) -> None:
        """Print a line in the driver log."""
        ...

    def trackers(self) -> list[Tracker]:
        """Trackers beyond those every host has (Ray's own metrics, say)."""
        ...
