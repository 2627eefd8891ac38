"""Checks of object paths: none leads out of the store, or out of the folder that a record belongs to."""

from __future__ import annotations

from pathlib import PurePosixPath

from longspan.errors import UserError


class ForeignPath(ValueError):
    """A path in a stored record that leads out of the folder that the record is about."""


def require_inside(path: str) -> str:
    """Return a relative path or S3 address that has no ``..`` component.

    An absolute local path is returned as it is: it names one place, however it is written.

    Raises:
        UserError: a component is ``..``.
    """
    if ".." in path and not path.startswith("/") and ".." in path.split("/"):
        raise UserError(
            f"storage: {path!r} has a component '..', which leads out of storage.root; give a path below it, "
            "or an absolute one"
        )
    return path


def is_relative(path: str) -> bool:
    """Whether a path stays below the folder that it is appended to."""
    return not path.startswith("/") and ".." not in path.split("/")


def stored_path(path: object, folder: str) -> str:
    """Return the path of an object as a stored record states it.

    Records are read by people and jobs with more permissions than whoever wrote them may have, so that
    a record must not choose which object they read or replace.

    Args:
        path: as the record states it.
        folder: of the store, in which all such objects are.

    Raises:
        ForeignPath: it is not the normal form of a path below the folder.
    """
    if not isinstance(path, str) or "\0" in path or str(PurePosixPath(path)) != path:
        raise ForeignPath(f"{path!r} is not the path of an object")
    if not is_relative(path) or not path.startswith(f"{folder}/"):
        raise ForeignPath(f"{path!r} is not below {folder}/")
    return path
