"""Completion record of an exported model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from longspan.storage import sealed
from longspan.train.layout import RunLayout


@dataclass(frozen=True)
class ModelExport:
    """Exported model of a run's last update.

    The record of its completion is deleted before the export and written after it, so that a model which was only
    partly uploaded is never taken for complete.
    """

    layout: RunLayout
    updates: int
    """Updates of the whole run."""
    fingerprint: str
    """Identity of the run's data and its order."""

    def begin(self) -> None:
        """Mark the model in the store as incomplete."""
        self.layout.store.delete(self.layout.exported_path)

    def end(self) -> None:
        """Mark the model in the store as complete."""
        self.layout.store.write_bytes(self.layout.exported_path, sealed.dumps(self._record))

    def is_complete(self) -> bool:
        """Return whether the store has the complete model of this run's last update."""
        store = self.layout.store
        try:
            found = sealed.read(store, self.layout.exported_path)
        except (FileNotFoundError, sealed.Damaged):
            return False
        return found == self._record and store.exists(f"{self.layout.model_path}/config.json")

    @property
    def _record(self) -> dict[str, Any]:
        return {"updates": self.updates, "order": self.fingerprint}
