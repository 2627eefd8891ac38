"""Address of a model: what any process of the cluster finds it by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from longspan.config.locations import local_path
from longspan.model.hub import pin

if TYPE_CHECKING:
    from longspan.storage import Store


def model_address(model: str, store: Store) -> str:
    """Return the address of ``model`` by which any process of the cluster finds the same one.

    It is an absolute folder, an s3:// address, or a hub name with its commit.
    """
    folder = Path(local_path(model))
    if "://" not in model and folder.is_dir():
        return str(folder)
    return store.uri(model) if store.exists(f"{model}/config.json") else pin(model)
