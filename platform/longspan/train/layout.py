"""Layout of a run in the store."""

from __future__ import annotations

from dataclasses import dataclass

from longspan.history.starts import FOLDER as HISTORY
from longspan.storage import Store
from longspan.train.checkpoint.checkpoints import Checkpoints


@dataclass(frozen=True)
class RunLayout:
    """Paths of a run's files, relative to the root of the store.

    runs/<name>/checkpoints/, metrics/, tensorboard/, history/, plots/, model/, exported.json
    """

    store: Store
    name: str
    """Name of the run."""

    @property
    def run_path(self) -> str:
        """Folder of the run."""
        return f"runs/{self.name}"

    @property
    def metrics_path(self) -> str:
        """Folder of the metrics as JSON lines."""
        return f"{self.run_path}/metrics"

    @property
    def tensorboard_path(self) -> str:
        """Folder of the event files of TensorBoard."""
        return f"{self.run_path}/tensorboard"

    @property
    def history_path(self) -> str:
        """Folder of the records of the rows that each worker received."""
        return f"{self.run_path}/{HISTORY}"

    @property
    def plots_path(self) -> str:
        """Folder of the plots."""
        return f"{self.run_path}/plots"

    @property
    def model_path(self) -> str:
        """Folder of the exported model."""
        return f"{self.run_path}/model"

    @property
    def exported_path(self) -> str:
        """Record that the exported model is complete."""
        return f"{self.run_path}/exported.json"

    @property
    def checkpoints(self) -> Checkpoints:
        """Checkpoints of the run."""
        return Checkpoints(self.store, self.run_path)
