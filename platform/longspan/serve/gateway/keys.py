"""API keys: made, listed and revoked; what a store holds of them.

A key is ``ls-`` and 43 random characters. The store holds one small JSON object a key,
``keys/NAME.json``, with the SHA-256 of the key and its limits: adding a key writes one object and
revoking it deletes one, so that no two people at work at once undo each other's change. The plain
hash of a password would be searched through; these are 256 random bits, which nobody can search,
and a slow hash would only make every request slower.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from longspan.errors import UserError
from longspan.storage import Store

FOLDER = "keys"
PREFIX = "ls-"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FIRST = "default"
MAX_BYTES = 4096
"""Of an object that describes a key."""


class NotAKey(UserError):
    """An object among the keys that describes none."""


class KeyLimits(BaseModel):
    """Limits of one key in each replica; None is no limit.

    Attributes:
        requests_per_minute: requests that begin within any 60 seconds.
        concurrent: requests at once.
        tokens_per_minute: tokens of prompts and answers, of the requests that ended within 60
            seconds and of those that run: a request begins while they are fewer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: int | None = Field(default=None, ge=1)
    concurrent: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)


DEFAULT_LIMITS = KeyLimits(requests_per_minute=120, concurrent=8, tokens_per_minute=400_000)
"""Of a key that is added without any: enough for a person and their scripts, too little to keep others out."""


class Key(BaseModel):
    """A key as the store holds it, without the key itself.

    Attributes:
        name: what people, the access log and the metrics call it.
        sha256: of the key, 64 hexadecimal digits.
        created: when it was made, in UTC.
        limits: what it may use.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=f"^{NAME.pattern}$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    created: datetime
    limits: KeyLimits = KeyLimits()


def hashed(token: bytes) -> str:
    """The SHA-256 of a key as a client sends it."""
    return hashlib.sha256(token).hexdigest()


def add(store: Store, name: str, limits: KeyLimits | None = None) -> str:
    """Make a key; running services know it a few seconds later.

    Args:
        store: where the keys are.
        name: a new one.
        limits: what the key may use; `DEFAULT_LIMITS` when None, and no limits for ``KeyLimits()``.

    Returns:
        The key itself, which is kept nowhere.

    Raises:
        UserError: the name is taken, or none that a key can have.
    """
    path = _path(name)
    if store.exists(path):
        raise UserError(f"keys: there is a key named {name} already: revoke it, or choose another")
    token = PREFIX + secrets.token_urlsafe(32)
    key = Key(
        name=name,
        sha256=hashed(token.encode()),
        created=datetime.now(UTC).replace(microsecond=0),
        limits=DEFAULT_LIMITS if limits is None else limits,
    )
    store.write_bytes(path, key.model_dump_json(exclude_defaults=True).encode() + b"\n")
    return token


def revoke(store: Store, name: str) -> None:
    """Delete a key; running services refuse it a few seconds later.

    Raises:
        UserError: there is no key of that name.
    """
    path = _path(name)
    if not store.exists(path):
        known = ", ".join(map(_name, _paths(store))) or "none"
        raise UserError(f"keys: there is no key named {name}; there are: {known}")
    store.delete(path)


def listed(store: Store) -> Iterator[tuple[str, Key | UserError]]:
    """All keys with their names, by name; an error for an object that describes none or cannot be read."""
    for path in _paths(store):
        try:
            yield _name(path), load(store, path)
        except FileNotFoundError:
            continue  # Revoked since it was listed.
        except UserError as error:
            yield _name(path), error


def _paths(store: Store) -> list[str]:
    return [item.path for item in store.list(f"{FOLDER}/*.json")]


def _name(path: str) -> str:
    return PurePosixPath(path).stem


def load(store: Store, path: str) -> Key:
    """The key that one object describes.

    Raises:
        NotAKey: it describes none, or one of another name, which `revoke` would not find.
        FileNotFoundError: it is not there (any more).
    """
    data = store.read_bytes(path, 0, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise NotAKey(f"{store.uri(path)} is larger than any API key; delete it")
    try:
        key = Key.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "content"
        raise NotAKey(
            f"{store.uri(path)} describes no API key ({where}: {problem['msg']}); "
            "delete it and add the key again"
        ) from None
    if key.name != _name(path):
        raise NotAKey(
            f"{store.uri(path)} describes a key named {key.name}, not {_name(path)}; delete it"
        )
    return key


def first_key(store: Store) -> str | None:
    """For the first start of a service: make a key named "default", without limits, where there is none at all.

    Call it once, before the replicas start.

    Returns:
        The key, to be shown to the person this once; None where there are keys already.
    """
    return None if store.list(f"{FOLDER}/*.json", limit=1) else add(store, FIRST, KeyLimits())


def _path(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UserError(
            f"keys: {name!r} cannot be a key's name: up to 64 letters, digits, '.', '_' and '-', "
            "the first a letter or digit"
        )
    return f"{FOLDER}/{name}.json"
