"""A run's checkpoints in the store: parts that the ranks write, and a record, written last, that commits them.

    runs/<name>/checkpoints/update-0000012/20261125T101500.../part-00000.safetensors   one per rank
                                                              part-00000.json          what it holds
                                           checkpoint.json                             the record
                             owner.json                                                whose run it is

An attempt to write a checkpoint has a folder of its own, so that one which is broken off is never
mixed with another. Only what the record lists, with its SHA-256, is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from longspan.errors import UserError
from longspan.storage import Store, sealed
from longspan.train.checkpoint.rank_files import Part
from longspan.train.identity import Difference, RunIdentity
from longspan.train.identity_v1 import SettingsV1

FOLDER = "checkpoints"
RECORD = "checkpoint.json"
OWNER = "owner.json"
DAMAGED = "damaged.json"
UPDATE = re.compile(r"[0-9]{7,12}")
"""Number of a checkpoint in the name of its folder."""


class Superseded(UserError):
    """Another job has begun to train the run."""


@dataclass(frozen=True)
class CheckpointFacts:
    """Progress of a run, and the values that it must have to resume from there."""

    update: int
    """Updates done; the next one has this number."""
    steps: int
    """Steps of the optimizer: updates that were not skipped."""
    order: str
    """Fingerprint of the data and its global order."""
    run: RunIdentity | SettingsV1 | None = None
    """Identity of the run, as the version of the code that wrote it has stored it."""
    losses: tuple[float, ...] = ()
    """Of the last updates that were made, which the next ones are compared with."""
    skipped: tuple[int, ...] = ()
    """The last updates, where they were skipped in a row."""

    def differences(self, current: CheckpointFacts) -> list[Difference]:
        """Values that another run does not share; how far it is is not compared.

        Args:
            current: of a run as this version of the code describes it.
        """
        found: list[Difference] = []
        if self.run and isinstance(current.run, RunIdentity):
            found = self.run.differences(current.run)
        if not found and self.order != current.order:
            data = [f"rows with fingerprint {order}" for order in (self.order, current.order)]
            found = [Difference("corpora", *data)]
        return found

    def require(self, current: CheckpointFacts) -> None:
        """Refuse to resume another run from here.

        Raises:
            UserError: it is another one (each key that differs is named, with both values).
        """
        if found := self.differences(current):
            changes = "; ".join(
                f"{each.key}: the checkpoint to resume from has {each.saved}, this run {each.current}"
                for each in found
            )
            undo = "undo the change" if len(found) == 1 else "undo the changes"
            raise UserError(f"{changes}; {undo}, or choose another name")

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads."""
        values = asdict(replace(self, run=None))
        del values["run"]
        match self.run:
            case RunIdentity():
                return values | {"run": self.run.to_json()}
            case SettingsV1():
                return values | {"settings": self.run.to_json()}
            case None:
                return values

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> CheckpointFacts:
        """Inverse of `to_json`; also reads what earlier versions of the code have written.

        Raises:
            UserError: a newer version has written it.
            ValueError, LookupError, TypeError, AttributeError: it is damaged.
        """
        values: dict[str, Any] = value | {key: tuple(value[key]) for key in ("losses", "skipped")}
        settings = values.pop("settings", None)
        if settings is not None:
            values["run"] = SettingsV1(dict(settings))
        elif "run" in values:
            values["run"] = RunIdentity.from_json(values["run"])
        return cls(**values)


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint."""

    facts: CheckpointFacts
    parts: tuple[Part, ...]
    """Of every rank that wrote it."""

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads."""
        return {"facts": self.facts.to_json(), "parts": [part.to_json() for part in self.parts]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Checkpoint:
        """Inverse of `to_json`; raises as `CheckpointFacts.from_json`."""
        parts = tuple(Part.from_json(part) for part in value["parts"])
        return cls(CheckpointFacts.from_json(value["facts"]), parts)


class Checkpoints:
    """A run's checkpoints."""

    def __init__(
        self, store: Store, run_path: str, log: Callable[[str], None] = lambda line: None
    ) -> None:
        """Contact nothing yet; ``log`` takes lines about corrupt checkpoints."""
        self.store = store
        self.path = f"{run_path}/{FOLDER}"
        self._log = log

    def folder(self, update: int) -> str:
        """Folder of the checkpoint after so many updates."""
        return f"{self.path}/update-{update:07d}"

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, as far as can be told without reading it; None in a new run.

        Raises:
            UserError: there are some, and none is whole.
        """
        found = next(self._whole(), None)
        if found is None and (lost := self._records(self._files())):
            raise UserError(
                f"name: the run has {len(lost)} checkpoints, and none of them is whole: choose another "
                f"name, or delete {self.store.uri(self.path)} to begin anew"
            )
        return found

    def committed(self) -> dict[int, str]:
        """Version of each committed checkpoint's record (`ObjectInfo.version`) by update, the newest first.

        Those that turned out to be damaged are left out. Nothing is read.
        """
        versions = {item.path: item.version for item in self.store.list(self.path)}
        folders = {update: self.folder(update) for update in self._updates(versions)}
        return {
            update: versions[f"{folder}/{RECORD}"]
            for update, folder in folders.items()
            if f"{folder}/{RECORD}" in versions and f"{folder}/{DAMAGED}" not in versions
        }

    def read(self, update: int) -> Checkpoint:
        """The committed checkpoint after so many updates; its parts are not looked at.

        Raises:
            FileNotFoundError: there is none, or it has been deleted.
            sealed.Damaged: its record is.
            UserError: a newer version of the code has written it.
        """
        return self._read(self.folder(update))

    def latest_update(self) -> int:
        """Updates done at the latest checkpoint; 0 in a new run."""
        found = self.latest()
        return found.facts.update if found else 0

    def acquire_lease(self, attempt_id: str) -> None:
        """From now on only this attempt writes checkpoints."""
        self.store.write_bytes(f"{self.path}/{OWNER}", sealed.dumps({"attempt": attempt_id}))

    def check_lease(self, attempt_id: str) -> None:
        """Nobody has begun since.

        Raises:
            Superseded: a later start has.
        """
        owner = sealed.read(self.store, f"{self.path}/{OWNER}")["attempt"]
        if owner != attempt_id:
            raise Superseded(
                f"name: another job trains this run since {owner}; it goes on, and this one ends"
            )

    def commit(self, checkpoint: Checkpoint) -> None:
        """From now on the checkpoint exists."""
        folder = self.folder(checkpoint.facts.update)
        # One at the same update that was damaged: found out again, if this one does not get there.
        self.store.delete(f"{folder}/{DAMAGED}")
        self.store.write_bytes(f"{folder}/{RECORD}", sealed.dumps(checkpoint.to_json()))

    def delete_orphans(self, update: int, attempt_id: str) -> None:
        """Delete what earlier starts have left of a checkpoint; ``attempt_id`` is this one's."""
        folder = self.folder(update)
        for item in self.store.list(folder):
            # Other ranks may be at this start's next checkpoint already.
            if item.path != f"{folder}/{RECORD}" and f"/{attempt_id}." not in item.path:
                self.store.delete(item.path)

    def mark_corrupt(self, checkpoint: Checkpoint, reason: str) -> None:
        """Mark a checkpoint as corrupt: the previous one is now the latest."""
        path = f"{self.folder(checkpoint.facts.update)}/{DAMAGED}"
        self.store.write_bytes(path, sealed.dumps({"reason": reason}))

    def prune(self, keep: int, every: int | None) -> None:
        """Keep the newest ones, and all after a multiple of ``every`` updates; delete the others.

        What was broken off before the newest is deleted as well.
        """
        committed = [checkpoint.facts.update for checkpoint in self._whole()]
        if not committed:
            return
        kept = set(committed[:keep])
        kept |= {update for update in committed if every and update % every == 0}
        for update in self._updates(self._files()):
            if update < committed[0] and update not in kept:
                self.delete(update)

    def delete(self, update: int) -> None:
        """Delete a checkpoint, its record first."""
        self.store.delete(f"{self.folder(update)}/{RECORD}")
        self.store.delete(self.folder(update))

    def _read(self, folder: str) -> Checkpoint:
        """The checkpoint in a folder; raises as `read`."""
        value = sealed.read(self.store, f"{folder}/{RECORD}")
        try:
            checkpoint = Checkpoint.from_json(value)
            if self.folder(checkpoint.facts.update) != folder:
                raise sealed.Damaged(f"it is of update {checkpoint.facts.update}")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise sealed.Damaged(str(error)) from error
        outside = [part.path for part in checkpoint.parts if not part.path.startswith(f"{folder}/")]
        if outside:
            raise sealed.Damaged(f"its part {outside[0]} is elsewhere")
        return checkpoint

    def _updates(self, paths: Iterable[str]) -> list[int]:
        """Of all that there is something of, the newest first."""
        prefix = f"{self.path}/update-"
        names = {
            path.removeprefix(prefix).split("/")[0] for path in paths if path.startswith(prefix)
        }
        # Other names are not ours to delete.
        return sorted({int(name) for name in names if UPDATE.fullmatch(name)}, reverse=True)

    def _files(self) -> dict[str, int]:
        """Size by path of all there is."""
        return {item.path: item.size for item in self.store.list(self.path)}

    @staticmethod
    def _records(files: dict[str, int]) -> list[str]:
        """Paths of the records, the newest first."""
        return sorted((path for path in files if path.endswith(f"/{RECORD}")), reverse=True)

    def _whole(self) -> Iterator[Checkpoint]:
        """Checkpoints that are whole, the newest first."""
        files = self._files()
        for path in self._records(files):
            folder = path.removesuffix(f"/{RECORD}")
            name = folder.rsplit("/", 1)[-1]
            if f"{folder}/{DAMAGED}" in files:
                self._log(f"checkpoint {name} is corrupt; falling back to the previous one")
                continue
            try:
                checkpoint = self._read(folder)
            except FileNotFoundError:  # Deleted since.
                continue
            except sealed.Damaged as error:
                self._log(
                    f"checkpoint {name}: its record is corrupt ({error}); falling back to the previous one"
                )
                continue
            bad = [part.path for part in checkpoint.parts if files.get(part.path) != part.bytes]
            if bad:
                self._log(
                    f"checkpoint {name}: {self.store.uri(bad[0])} is missing or has another size; "
                    "falling back to the previous one"
                )
                continue
            yield checkpoint
