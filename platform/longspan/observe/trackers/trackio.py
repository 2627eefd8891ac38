"""Trackio as a tracker."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from longspan.observe.scalars import scalars
from longspan.observe.tracker import Record
from longspan.observe.trackers.addresses import without_login
from longspan.observe.trackers.run import TrackedRun


class TrackioTracker:
    """Records in a project of trackio; a :class:`~longspan.observe.tracker.Tracker`.

    Credentials are taken from the worker's environment (TRACKIO_WRITE_TOKEN for a server, HF_TOKEN for a Space), never
    from the recipe. Without a server and a Space, the project is a database in TRACKIO_DIR of the first worker's node.

    Args:
        run: the run.
        project: the project; made if it does not exist.
        server_url: address of a trackio server.
        space_id: Hugging Face Space.
    """

    requires = ("trackio",)

    def __init__(
        self,
        run: TrackedRun,
        project: str = "longspan",
        server_url: Annotated[str, AfterValidator(without_login("TRACKIO_WRITE_TOKEN"))]
        | None = None,
        space_id: str | None = None,
    ) -> None:
        import trackio

        self._run = trackio.init(
            project=project,
            name=run.id,
            config=dict(run.config),
            server_url=server_url,
            space_id=space_id,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, record: Record) -> None:
        """Send the record's numbers."""
        if shown := scalars(record):
            self._run.log(shown, step=record["update"])

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()
