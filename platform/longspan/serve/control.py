"""The store of API keys and version records: who may use the chat service, and what a rollback serves."""

from __future__ import annotations

import grp
import pwd
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from longspan.config.locations import local_path
from longspan.errors import UserError
from longspan.serve.gateway.keys import FOLDER as KEYS
from longspan.serve.schema import ServeSettings
from longspan.serve.versions import FOLDER as VERSIONS
from longspan.storage import Store

DOCUMENTATION = "docs/serving.md, Who may write what"


def open_control(settings: ServeSettings) -> Store:
    """The store below ``control.root``, or below ``storage.root`` where that is not set; nothing is contacted yet."""
    place = settings.control or settings.storage
    return Store(local_path(place.root), endpoint=place.endpoint, region=place.region)


def require_writable(settings: ServeSettings, folders: Sequence[str] = (VERSIONS,)) -> None:
    """Check, before anything starts, that these credentials may write version records, and keys if asked.

    Args:
        settings: the service's.
        folders: of the store of keys and versions.

    Raises:
        UserError: they may not.
    """
    store = open_control(settings)
    key = "control.root" if settings.control else "storage.root"
    for folder in folders:
        if missing := store.denied("write", folder):
            raise UserError(
                f"{key}: {store.uri(folder)} cannot be written here ({'; '.join(missing)}); deploy with an "
                "operator's credentials (cluster/iam-policy-operator.json), set head_records_versions: true in "
                "cluster/settings.yaml, or run `serve deploy serving/chat.yaml`, which records no version "
                f"({DOCUMENTATION})"
            )


def open_to_others(store: Store) -> Iterator[str]:
    """Folders and files of keys and versions that other users of this machine can write, a line for each."""
    if store.root.startswith("s3://"):
        return
    root = Path(store.root)
    folders = [root, root / KEYS, root / Path(VERSIONS).parent, root / VERSIONS]
    files = [*(root / KEYS).glob("*.json"), *(root / VERSIONS).glob("*")]
    for path in [*folders, *files]:
        if path.exists() and (who := _other_writers(path)):
            yield (
                f"{path}: writable by {who}, who can so add API keys or change what a rollback serves; "
                f"chmod go-w {path}"
            )


def _other_writers(path: Path) -> str | None:
    """Who besides the owner may write a file or folder."""
    status = path.stat()
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    if status.st_mode & stat.S_IWGRP and _has_other_members(status.st_gid, status.st_uid):
        return f"group {_group_name(status.st_gid)}"
    return None


def _has_other_members(group: int, owner: int) -> bool:
    """Many systems give each user a group of their own, which lets nobody else in."""
    try:
        named = set(grp.getgrgid(group).gr_mem)
        owned_by = pwd.getpwuid(owner).pw_name
    except KeyError:
        return True
    primary = {user.pw_name for user in pwd.getpwall() if user.pw_gid == group}
    return bool((named | primary) - {owned_by})


def _group_name(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
