"""Records of deployments in the store, and which one a rollback goes back to.

    serving/versions/0003.json    {"format": 2, "number": 3, "state": "served", "at": ..., "args": {...}}

A record holds the arguments of our application and nothing else: no environment, no program, no other
application. It is data that somebody else may have written, and is read as such.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import yaml
from pydantic import AwareDatetime, Field, ValidationError

from longspan.config.section import Section
from longspan.config.yaml_text import load_yaml
from longspan.errors import Unreachable, UserError
from longspan.serve.config import application_of
from longspan.serve.schema import ServeSettings
from longspan.storage import ObjectInfo, Store

FOLDER = "serving/versions"
FORMAT = 2
NAME = re.compile(rf"{FOLDER}/(\d{{4,9}})\.(json|yaml)")
"""Of a record; .yaml is the format of earlier releases, a whole Serve config."""
STORES = ("storage", "control")
"""Arguments that come from the operator's config file alone: a record that set them could choose whose keys hold."""
MAX_NUMBER = 10**6
"""Records with larger numbers are ignored: one that somebody has planted must not leave none for later versions."""
MAX_BYTES = 2**18
MAX_VALUES = 10_000

State = Literal["begun", "served", "failed"]
Log = Callable[[str], None]


class Version(Section):
    """One deployment."""

    number: int = Field(ge=1)
    """1, 2, ..."""
    args: ServeSettings
    """Arguments of the application, without `storage` and `control`: a record does not say where the stores are."""
    state: State
    """How the deployment ended; begun: it has not, or nobody saw it."""
    at: AwareDatetime
    """When it began."""
    restores: int | None = Field(None, ge=1)
    """Number of the version that this rollback went back to."""

    @property
    def model(self) -> str:
        """Address of the model."""
        return self.args.model

    @property
    def values(self) -> dict[str, Any]:
        """The arguments that were given, as plain data."""
        return plain(self.args)


def plain(settings: ServeSettings) -> dict[str, Any]:
    """The arguments that were given, as plain data, without those that say where the stores are."""
    return settings.model_dump(mode="json", exclude_unset=True, exclude=set(STORES))


class NotAVersion(ValueError):
    """The content of an object is not a record."""


class Versions:
    """The records of one store."""

    def __init__(self, store: Store, log: Log) -> None:
        """Read nothing yet; `log` takes a line for each object that is no record."""
        self._store, self._log = store, log

    def all(self) -> list[Version]:
        """The records, oldest first; objects that are none are reported by name and ignored."""
        found: dict[int, Version] = {}
        earlier = 0
        for item in self._store.list(f"{FOLDER}/*"):
            try:
                version = self._read(item)
            except NotAVersion as error:
                remedy = "delete it unless you know what it is"
                if item.path.endswith(".yaml"):
                    remedy = "if an earlier release wrote it, deploy that model again with `deploy`"
                self._log(
                    f"{self._store.uri(FOLDER)}: {item.path.removeprefix(FOLDER + '/')!r} is not a record of a "
                    f"version ({_printable(error)}) and is ignored; {remedy}"
                )
                continue
            found.setdefault(version.number, version)
            earlier += item.path.endswith(".yaml")
        if earlier:
            self._log(
                f"{self._store.uri(FOLDER)}: {earlier} of the records were written by an earlier release and hold "
                "whole Serve configs; of those only the application's args are taken"
            )
        return [found[number] for number in sorted(found)]

    def begin(self, args: ServeSettings, restores: int | None = None) -> Version:
        """Record that a version is about to be deployed, under a number that no other deployment has."""
        number = max(self._numbers(), default=0)
        now = datetime.now(UTC).replace(microsecond=0)
        while True:
            number += 1
            version = Version(number=number, args=args, state="begun", at=now, restores=restores)
            if self._store.write_new(_path(number), _to_json(version)):
                return version

    def end(self, version: Version, state: State) -> None:
        """Record how a deployment ended."""
        ended = version.model_copy(update={"state": state})
        self._store.write_bytes(_path(version.number), _to_json(ended))

    def before(self, number: int | None = None, running: ServeSettings | None = None) -> Version:
        """Return the version to go back to: the one asked for, or the latest good one before the newest.

        What the newest one went back to counts in its place: twice back is two versions back. Where what runs is no
        recorded version, the latest good one is the one before it.

        Args:
            number: of the version that is asked for.
            running: arguments of what serves now, by Ray Serve; None if nothing does, or they can't be read.

        Raises:
            UserError: there is none.
        """
        versions = self.all()
        found = _candidates(versions, number)
        is_recorded = running is None or plain(running) in [each.values for each in versions]
        if number is None and is_recorded:
            found = [each for each in found if self._is_before(each, versions[-1])]
        if not found:
            raise UserError(_nothing_to_go_back_to(versions, number))
        return found[-1]

    def require_candidate(self, number: int | None = None) -> None:
        """Check that there may be a version to go back to, before anything that takes time.

        Raises:
            UserError: there is none.
        """
        versions = self.all()
        if not _candidates(versions, number):
            raise UserError(_nothing_to_go_back_to(versions, number))

    @staticmethod
    def _is_before(version: Version, newest: Version) -> bool:
        latest = newest.restores or newest.number
        return (version.restores or version.number) < latest and version.values != newest.values

    def _numbers(self) -> Iterator[int]:
        """Numbers that are taken, by records or by what can't be read."""
        for item in self._store.list(f"{FOLDER}/*"):
            if (name := NAME.fullmatch(item.path)) and int(name[1]) <= MAX_NUMBER:
                yield int(name[1])

    def _read(self, item: ObjectInfo) -> Version:
        name = NAME.fullmatch(item.path)
        if not name:
            raise NotAVersion("its name is not a number with .json or .yaml")
        if int(name[1]) > MAX_NUMBER:
            raise NotAVersion(f"its number is above {MAX_NUMBER:,}")
        if item.size > MAX_BYTES:
            raise NotAVersion(f"it has {item.size:,} bytes; a record has {MAX_BYTES:,} at most")
        try:
            data = self._store.read_bytes(item.path)
        except Unreachable:
            raise
        except (UserError, OSError) as error:
            raise NotAVersion(f"it can't be read: {error}") from None
        version = parse_record(data, is_earlier=name[2] == "yaml")
        if version.number != int(name[1]):
            raise NotAVersion(f"it is of version {version.number}")
        return version


def _candidates(versions: list[Version], number: int | None) -> list[Version]:
    """The version with a number, or all that have served."""
    if number is not None:
        return [version for version in versions if version.number == number]
    return [version for version in versions if version.state == "served"]


def _nothing_to_go_back_to(versions: list[Version], number: int | None) -> str:
    known = ", ".join(str(version.number) for version in _candidates(versions, None)) or "none"
    asked = f"there is no version {number}" if number else "there is no other good version"
    return f"rollback: {asked}; versions that have served: {known}"


def parse_record(data: bytes, is_earlier: bool = False) -> Version:
    """Parse a record.

    Args:
        data: content of the object.
        is_earlier: whether it has the format of earlier releases.

    Raises:
        NotAVersion: it is none.
    """
    try:
        value = _earlier(data) if is_earlier else json.loads(data)
        if not isinstance(value, dict) or value.pop("format", None) != FORMAT:
            raise NotAVersion(f"it has not format {FORMAT}")
        _require_few(value)
        version = Version.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise NotAVersion(f"{where}: {first['msg']}"[:300]) from None
    except (ValueError, yaml.YAMLError, UserError, RecursionError) as error:
        raise NotAVersion(" ".join(str(error).split())[:300]) from None
    shown = (version.model, version.args.name or "", version.args.pool or "")
    if not all(text.isprintable() for text in shown):
        raise NotAVersion("a name in it has characters that can't be printed")
    return version


def _to_json(version: Version) -> bytes:
    value = version.model_dump(mode="json", exclude={"args"}) | {"args": version.values}
    return json.dumps({"format": FORMAT} | value, indent=1).encode() + b"\n"


def _printable(error: Exception) -> str:
    """A message that may quote the record, without what a terminal would obey."""
    return "".join(each if each.isprintable() else "?" for each in str(error))


def _path(number: int) -> str:
    return f"{FOLDER}/{number:04d}.json"


def _earlier(data: bytes) -> dict[str, Any]:
    """A record of an earlier release in today's format: of its Serve config our application's args alone."""
    value = load_yaml(data.decode())
    _require_few(value)
    if not isinstance(value, dict):
        raise NotAVersion("it does not hold keys and values")
    args = application_of(value.get("config")).get("args")
    if not isinstance(args, dict):
        raise NotAVersion("config: the application has no args")
    kept = {key: value[key] for key in ("number", "state", "at", "restores") if key in value}
    args = {key: args[key] for key in args if key not in STORES}
    return {"format": FORMAT, "args": args, **kept}


def _require_few(value: Any) -> None:
    """Refuse what has many values, counted as often as they are referred to: aliases make a small text huge."""
    queue, seen = [value], 0
    while queue:
        current = queue.pop()
        seen += 1
        if isinstance(current, dict):
            queue += current.values()
        elif isinstance(current, list):
            queue += current
        if seen + len(queue) > MAX_VALUES:
            raise NotAVersion(f"it holds more than {MAX_VALUES:,} values")
