"""Locations that configuration files name: relative paths, and the object store."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from longspan.errors import UserError
from longspan.job_environment import is_submitted, is_uploaded_copy
from longspan.storage import Store

if TYPE_CHECKING:
    from longspan.config.common import Storage


class WithStorage(Protocol):
    """Settings that name a store."""

    @property
    def storage(self) -> Storage:
        """Location of the store."""
        ...


def base_folder() -> Path:
    """Return the folder in which relative local paths start: the current folder.

    A job submitted with ``--working-dir`` runs in an uploaded copy that has no data; there it is the
    checkout that the environment belongs to.
    """
    if not is_uploaded_copy():
        return Path.cwd()
    return Path(os.environ.get("LONGSPAN_ROOT") or Path(sys.prefix).parent)


def local_path(path: str) -> str:
    """``path`` made absolute where it is a local one."""
    return path if "://" in path else str(base_folder() / Path(path).expanduser())


def open_store(settings: WithStorage) -> Store:
    """Return the store that settings name; nothing is contacted yet.

    Raises:
        UserError: the root is a relative path, in a submitted job, of a folder that is not there.
    """
    storage = settings.storage
    if (
        is_submitted()
        and _is_relative(storage.root)
        and not Path(local_path(storage.root)).is_dir()
    ):
        raise UserError(
            f"storage.root: {storage.root!r} is a relative path, and a submitted job resolves it on the head node, in "
            f"the folder where `ray start` ran: {local_path(storage.root)} is not there; give an absolute path that "
            "all nodes see, or s3://bucket/prefix"
        )
    return Store(local_path(storage.root), endpoint=storage.endpoint, region=storage.region)


def relative_root_note(settings: WithStorage) -> str | None:
    """Note for a relative `storage.root` with the folder that it is here; None for any other root."""
    root = settings.storage.root
    of_head = os.environ.get("LONGSPAN_ROOT")
    if not _is_relative(root) or is_submitted() or (of_head and base_folder() == Path(of_head)):
        return None
    return (
        f"storage.root: {root!r} is relative, here {local_path(root)}; a submitted job starts it in the folder where "
        "`ray start` ran. An absolute path is the same folder in both"
    )


def _is_relative(root: str) -> bool:
    return "://" not in root and not Path(root).expanduser().is_absolute()
