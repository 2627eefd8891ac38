"""Models of a hub, always of one commit: a name alone may stand for something else tomorrow, or on another node."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from longspan.errors import UserError
from longspan.model.cache import require_free

_NAME = r"[\w-][\w.-]*"
_ADDRESS = re.compile(rf"({_NAME}(?:/{_NAME})?)(?:@(\w[\w.-]*(?:/\w[\w.-]*)*))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubModel:
    """A model of a hub, written ``owner/name`` or ``owner/name@revision``.

    Attributes:
        name: ``owner/name``.
        revision: a branch, tag or commit; None is the hub's default branch.
    """

    name: str
    revision: str | None = None

    @classmethod
    def parse(cls, address: str) -> HubModel | None:
        """Return the model that an address names; None if it cannot be one of a hub."""
        found = _ADDRESS.fullmatch(address)
        return cls(found[1], found[2]) if found else None

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return bool(self.revision and _COMMIT.fullmatch(self.revision))

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name


def pin(address: str) -> str:
    """Return a hub model's address with the commit that it stands for now: ``owner/name@<commit>``.

    Without a network it is the commit in the hub's cache on this machine. The address is returned as it is
    if it is no hub model (``owner/name``), has its commit already, or nobody knows the commit: fetching the
    model then says why.
    """
    model = HubModel.parse(address)
    if model is None or "/" not in model.name or model.is_pinned:
        return address
    from httpx2 import ProxyError
    from huggingface_hub import HfApi, errors

    try:
        commit = HfApi().resolve_revision(
            model.name, revision=model.revision, local_files_only=not _is_reachable()
        )
    except (
        errors.RevisionResolutionError,
        errors.HfHubHTTPError,
        errors.HFValidationError,
        ProxyError,
        OSError,
    ):
        return address
    return f"{model.name}@{commit.resolved}"


def read_file(model: HubModel, name: str) -> bytes | None:
    """Return a small file of the model, from the hub's cache or the hub; None if neither gives it.

    Raises:
        GatedRepoError: the hub asks for an agreement first (huggingface_hub's error).
    """
    import huggingface_hub
    from httpx2 import ProxyError
    from huggingface_hub import errors

    try:
        cached = huggingface_hub.try_to_load_from_cache(model.name, name, revision=model.revision)
        if isinstance(cached, str):
            return Path(cached).read_bytes()
        if not _is_reachable():
            return None
        found = huggingface_hub.hf_hub_download(model.name, name, revision=model.revision)
        return Path(found).read_bytes()
    except errors.GatedRepoError:
        raise
    except (errors.HfHubHTTPError, errors.HFValidationError, ProxyError, OSError):
        return None


def fetch_snapshot(model: HubModel, wanted: Sequence[str], places: str) -> Path:
    """Return the folder of the hub's cache with the model's files that match ``wanted``, fetched if need be.

    Args:
        model: the model; its revision should be a commit.
        wanted: patterns of file names.
        places: where else it was looked for, for the message.

    Raises:
        UserError: the hub does not give it, or there is no room for it.
    """
    from httpx2 import ProxyError
    from huggingface_hub import errors, is_offline_mode, snapshot_download

    offline = is_offline_mode()
    # Subfolders hold other formats of the same weights.
    patterns: dict[str, Any] = {"allow_patterns": list(wanted), "ignore_patterns": ["*/*"]}
    try:
        if not offline:
            _require_room(model, patterns)
        return Path(
            snapshot_download(
                model.name, revision=model.revision, local_files_only=offline, **patterns
            )
        )
    except errors.GatedRepoError:
        why = "the hub keeps this model behind an agreement: accept it there and log in"
    except errors.RepositoryNotFoundError:
        why = "the hub has no such model (or keeps it private)"
    except errors.RevisionNotFoundError:
        why = f"the hub has the model, but no revision {model.revision!r} of it"
    except errors.LocalEntryNotFoundError:
        why = "the hub's cache on this machine does not hold it, and "
        why += "HF_HUB_OFFLINE forbids fetching it" if offline else "the hub cannot be reached"
    except (OSError, ProxyError, errors.HFValidationError) as error:
        why = f"fetching it from the hub failed: {error}"
    raise UserError(f"base_model: there is no model {str(model)!r}: {places}; {why}")


def _is_reachable() -> bool:
    """Return whether the hub may answer: its client would try a host without an address for half a minute."""
    from huggingface_hub import constants, is_offline_mode

    if is_offline_mode():
        return False
    hub = urlsplit(constants.ENDPOINT)
    if getproxies().keys() & {hub.scheme, "all"}:
        return True
    try:
        socket.getaddrinfo(hub.hostname, None)
    except OSError:
        return False
    return True


def _require_room(model: HubModel, patterns: dict[str, Any]) -> None:
    """Refuse a download that the disk of the hub's cache has no room for.

    Raises:
        UserError: it has none.
        OSError: the hub cannot be asked (some are huggingface_hub's kinds of it).
    """
    from huggingface_hub import constants, errors, snapshot_download

    try:
        files = snapshot_download(model.name, revision=model.revision, dry_run=True, **patterns)
    except errors.DryRunError:
        return  # The hub does not answer: what its cache holds needs no room.
    needed = sum(file.file_size or 0 for file in files if file.will_download)
    require_free(needed, Path(constants.HF_HUB_CACHE), str(model), "HF_HOME")
