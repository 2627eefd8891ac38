"""What was deployed, in order: records in the store, and which one a rollback goes back to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import yaml

from longspan.errors import UserError
from longspan.serve.config import application_of, with_environment
from longspan.storage import Store

FOLDER = "serving/versions"

State = Literal["begun", "served", "failed"]


@dataclass(frozen=True)
class Version:
    """One deployment.

    Attributes:
        number: 1, 2, ...
        config: what Ray Serve was given, without variables of the environment.
        state: what came of it.
        at: when it began, UTC.
        restores: the version that it went back to.
    """

    number: int
    config: dict[str, Any]
    state: State
    at: str
    restores: int | None = None

    @property
    def model(self) -> str:
        """What it serves."""
        return application_of(self.config)["args"]["model"]


class Versions:
    """The records of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[Version]:
        """Oldest first."""
        found = sorted(item.path for item in self._store.list(f"{FOLDER}/*.yaml"))
        return [Version(**yaml.safe_load(self._store.read_bytes(path))) for path in found]

    def newest_served(self) -> Version | None:
        """The latest good one."""
        return next((each for each in reversed(self.all()) if each.state == "served"), None)

    def begin(self, config: dict[str, Any], restores: int | None = None) -> Version:
        """Note that a config is about to be deployed; its variables of the environment are not stored."""
        number = max((version.number for version in self.all()), default=0) + 1
        now = datetime.now(UTC).isoformat(timespec="seconds")
        version = Version(number, with_environment(config, {}), "begun", now, restores)
        self._write(version)
        return version

    def end(self, version: Version, state: State) -> None:
        """Note what came of it."""
        self._write(replace(version, state=state))

    def before(self, number: int | None = None) -> Version:
        """The version to go back to: the one asked for, or the latest good one before the newest.

        What the newest one went back to counts in its place: twice back is two versions back.

        Raises:
            UserError: there is none.
        """
        versions = self.all()
        served = [version for version in versions if version.state == "served"]
        if number is not None:
            found = [version for version in versions if version.number == number]
        else:
            found = [each for each in served if self._is_before(each, versions[-1])]
        if not found:
            known = ", ".join(str(version.number) for version in served) or "none"
            asked = f"there is no version {number}" if number else "there is no other good version"
            raise UserError(f"rollback: {asked}; versions that have served: {known}")
        return found[-1]

    @staticmethod
    def _is_before(version: Version, newest: Version) -> bool:
        latest = newest.restores or newest.number
        return (version.restores or version.number) < latest and version.config != newest.config

    def _write(self, version: Version) -> None:
        text = yaml.safe_dump(vars(version), sort_keys=False)
        self._store.write_bytes(f"{FOLDER}/{version.number:04d}.yaml", text.encode())
