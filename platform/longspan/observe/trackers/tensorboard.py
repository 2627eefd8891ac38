"""TensorBoard as a tracker of the recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from longspan.observe.tensorboard import TensorBoard
from longspan.observe.trackers.run import TrackedRun


class TensorBoardTracker(TensorBoard):
    """Event files in `runs/<name>/tensorboard`.

    Args:
        run: the run.
        flush_s: seconds between copies of the event file to the store.
    """

    requires = ("tensorboard",)

    def __init__(self, run: TrackedRun, flush_s: Annotated[float, Field(gt=0)] = 60.0) -> None:
        super().__init__(
            run.store,
            f"{run.path}/tensorboard",
            first_update=run.first_update,
            seconds=flush_s,
            warn=run.log,
        )
