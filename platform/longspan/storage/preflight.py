"""Before anything starts: whether a store permits all that a run will do with it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from longspan.errors import UserError
from longspan.storage.objects import Access
from longspan.storage.patterns import WILDCARD
from longspan.storage.store import Store

THREADS = 8


@dataclass(frozen=True)
class Need:
    """Something that a run will do with a store.

    Attributes:
        access: "list" what begins with a path, "read" what a pattern names (which has to be listed
            for that), "add" objects below a folder and read them again, or "write" there, which
            is to delete them as well.
        path: the path, pattern or folder.
        key: the recipe's key that it comes from.
    """

    access: Access
    path: str
    key: str


LIST_ROOT = Need("list", "", "storage.root")
ROOT_NEEDS = (LIST_ROOT, Need("write", "", "storage.root"))


def require_access(store: Store, needs: Sequence[Need] = ROOT_NEEDS) -> None:
    """Check that a run has the permissions that it needs; by default, that the root can be listed and written.

    Nothing is left behind, except for an object where writing is permitted and deleting is not.

    Raises:
        UserError: permissions are missing, or the store cannot be reached. The message names every missing
            permission, the bucket or the credentials, and never holds a secret.
    """
    first, *rest = needs
    missing = _missing(store, first)  # One message where nothing answers or the keys are wrong.
    with ThreadPoolExecutor(THREADS) as pool:
        for found in pool.map(lambda need: _missing(store, need), rest):
            missing += found
    if missing:
        lines = "".join(f"\n  {line}" for line in dict.fromkeys(missing))
        raise UserError(f"missing permissions:{lines}{_advice(store)}")


def _missing(store: Store, need: Need) -> list[str]:
    try:
        return [f"{need.key}: {what}" for what in _denied(store, need)]
    except UserError as error:
        raise UserError(f"{need.key}: {error}") from error


def _denied(store: Store, need: Need) -> Sequence[str]:
    if need.access != "read":
        return store.denied(need.access, need.path)
    if denied := store.denied("list", WILDCARD.split(need.path)[0]):
        return denied
    # A pattern that matches nothing is another matter.
    return [
        what for item in store.list(need.path, limit=1) for what in store.denied("read", item.path)
    ]


def _advice(store: Store) -> str:
    if not store.uri().startswith("s3://"):
        return ""
    from longspan.storage.s3_errors import KEYS

    return f"\ncheck {KEYS}, and the policy of its user (and of the bucket's encryption key)"
