"""Weights & Biases as a tracker."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from longspan.observe.scalars import scalars
from longspan.observe.tracker import Record
from longspan.observe.trackers.run import TrackedRun

STEP = "update"


class WandbTracker:
    """Records in a project of Weights & Biases; a :class:`~longspan.observe.tracker.Tracker`.

    The API key is taken from the worker's environment (WANDB_API_KEY) or ~/.netrc, never from the recipe. Neither the
    machine, its environment nor code is recorded.

    Args:
        run: the run.
        project: the project; made if it does not exist.
        entity: the user or team. Unset: the key's default.
        mode: "offline" writes files, which are copied to `runs/<name>/wandb` at the end, for `wandb sync`.
        group: the group of the run.
        tags: of the run.
    """

    requires = ("wandb",)

    def __init__(
        self,
        run: TrackedRun,
        project: str = "longspan",
        entity: str | None = None,
        mode: Literal["online", "offline"] = "online",
        group: str | None = None,
        tags: Annotated[tuple[str, ...], Field(max_length=64)] = (),
    ) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._tracked, self._is_offline = run, mode == "offline"
        self._folder = Path(tempfile.mkdtemp(prefix="longspan-wandb-"))
        self._run = wandb.init(
            project=project,
            entity=entity,
            mode=mode,
            group=group,
            tags=tags,
            id=run.id,
            name=run.name,
            config=dict(run.config),
            dir=self._folder,
            resume=None if self._is_offline else "allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_code=True,
                disable_git=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_disable_stats=True,
                login_timeout=1.0,
            ),
        )
        # Its own step only rises, and a resumed run repeats updates.
        self._run.define_metric(STEP, hidden=True)
        self._run.define_metric("*", step_metric=STEP)

    def log(self, record: Record) -> None:
        """Send the record's numbers."""
        if shown := scalars(record):
            self._run.log({**shown, STEP: record["update"]})

    def close(self) -> None:
        """Send what is left; copy the files of an offline run to the store."""
        try:
            self._run.finish()
            if self._is_offline:
                self._tracked.store.upload(str(self._folder), f"{self._tracked.path}/wandb")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
