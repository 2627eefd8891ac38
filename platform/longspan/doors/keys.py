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
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from longspan.errors import UserError
from longspan.storage import Store

FOLDER = "keys"
PREFIX = "ls-"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FIRST = "default"


class NotAKey(UserError):
    """An object among the keys that describes none."""


class KeyLimits(BaseModel):
    """What one key may use; None is no limit.

    Attributes:
        requests_per_minute: requests that begin within any 60 seconds.
        concurrent: requests at once.
        tokens_per_minute: tokens of prompts and answers, of the requests that ended within 60
            seconds: a request begins while they are fewer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: int | None = Field(default=None, ge=1)
    concurrent: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)


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
        limits=limits or KeyLimits(),
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
        known = ", ".join(key.name for key in listed(store)) or "none"
        raise UserError(f"keys: there is no key named {name}; there are: {known}")
    store.delete(path)


def listed(store: Store) -> list[Key]:
    """All keys, by name."""
    return [load(store, item.path) for item in store.list(f"{FOLDER}/*.json")]


def load(store: Store, path: str) -> Key:
    """The key that one object describes.

    Raises:
        NotAKey: it describes none.
        FileNotFoundError: it is not there (any more).
    """
    try:
        return Key.model_validate_json(store.read_bytes(path))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "content"
        raise NotAKey(
            f"{store.uri(path)} describes no API key ({where}: {problem['msg']}); "
            "delete it and add the key again"
        ) from None


def first_key(store: Store) -> str | None:
    """For the first start of a service: make a key named "default" where there is none at all.

    Call it once, before the replicas start.

    Returns:
        The key, to be shown to the person this once; None where there are keys already.
    """
    return None if store.list(f"{FOLDER}/*.json", limit=1) else add(store, FIRST)


def _path(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UserError(
            f"keys: {name!r} cannot be a key's name: up to 64 letters, digits, '.', '_' and '-', "
            "the first a letter or digit"
        )
    return f"{FOLDER}/{name}.json"
