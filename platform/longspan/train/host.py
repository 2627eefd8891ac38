"""What the training loop needs from the program it runs under: Ray Train, torchrun, or one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from longspan.observe.tracker import Tracker
    from longspan.stream.batch import Batch


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

    def batches(self, first_update: int) -> Iterator[Batch]:
        """This rank's rows of every update from ``first_update`` on."""
        ...

    def checkpoint(self) -> AbstractContextManager[Path | None]:
        """The latest checkpoint as a local folder with all ranks' files, None in a new run."""
        ...

    def save_checkpoint(self, folder: Path, update: int, metrics: dict[str, Any]) -> None:
        """Keep this rank's files in ``folder`` as its part of a checkpoint; all ranks call it."""
        ...

    def say(self, line: str) -> None:
        """Show a line to the person watching."""
        ...

    def trackers(self) -> list[Tracker]:
        """Trackers beyond those every host has (Ray's own metrics, say)."""
        ...
