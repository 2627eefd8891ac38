"""What was deployed, in order: records in the store, and which one a rollback goes back to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import yaml

from longspan.errors import UserError
from longspan.storage import Store

FOLDER = "serving/versions"

State = Literal["begun", "served", "failed"]


@dataclass(frozen=True)
class Version:
    """One deployment.

    Attributes:
        number: 1, 2, ...
        config: the whole config that Ray Serve was given.
        state: what came of it.
        at: when it began, UTC.
    """

    number: int
    config: dict[str, Any]
    state: State
    at: str

    @property
    def model(self) -> str:
        """What it serves."""
        return self.config["applications"][0]["args"]["model"]


class Versions:
    """The records of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[Version]:
        """Oldest first."""
        found = sorted(item.path for item in self._store.list(f"{FOLDER}/*.yaml"))
        return [Version(**yaml.safe_load(self._store.read_bytes(path))) for path in found]

    def begin(self, config: dict[str, Any]) -> Version:
        """Note that a config is about to be deployed."""
        number = max((version.number for version in self.all()), default=0) + 1
        version = Version(number, config, "begun", datetime.now(UTC).isoformat(timespec="seconds"))
        self._write(version)
        return version

    def end(self, version: Version, state: State) -> None:
        """Note what came of it."""
        self._write(replace(version, state=state))

    def before(self, number: int | None = None) -> Version:
        """The version to go back to: the one asked for, or the latest good one that is another than the newest.

        Raises:
            UserError: there is none.
        """
        versions = self.all()
        served = [version for version in versions if version.state == "served"]
        if number is not None:
            found = [version for version in versions if version.number == number]
        else:
            found = [version for version in served if version.config != versions[-1].config]
        if not found:
            known = ", ".join(str(version.number) for version in served) or "none"
            asked = f"there is no version {number}" if number else "there is no other good version"
            raise UserError(f"rollback: {asked}; versions that have served: {known}")
        return found[-1]

    def _write(self, version: Version) -> None:
        text = yaml.safe_dump(vars(version), sort_keys=False)
        self._store.write_bytes(f"{FOLDER}/{version.number:04d}.yaml", text.encode())
