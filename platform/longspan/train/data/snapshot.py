"""Snapshot of a run's data, taken at its first start: later changes of the corpora belong to other runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longspan.errors import UserError
from longspan.shards.manifest import SourceManifest
from longspan.storage import sealed
from longspan.train.data.identity import DataIdentity, from_settings_v1

if TYPE_CHECKING:
    from longspan.storage import ObjectInfo, Store
    from longspan.train.identity import Difference

FORMAT = 2
"""Version of the stored form; version 1 is still read."""


@dataclass(frozen=True)
class DataSnapshot:
    """The data of one run: its sources' manifests, below the run's folder.

    Attributes:
        store: where the run is.
        run: the run's name.
        identity: of the data that its recipe asks for now.
    """

    store: Store
    run: str
    identity: DataIdentity

    def load(self) -> dict[str, SourceManifest] | None:
        """The manifests that the run began with, by source; None if it has not begun.

        Raises:
            UserError: the recipe asks for other data now (each key that differs is named), or some of
                the data is gone.
        """
        if not self.store.exists(self._path):
            return None
        try:
            content = sealed.read(self.store, self._path)
        except sealed.Damaged as error:
            raise UserError(f"name: {self.store.uri(self._path)} is damaged: {error}") from None
        changes = self._identity_in(content).differences(self.identity)
        if changes and self.has_checkpoint():
            raise UserError(self._refusal(changes))
        if changes:  # What was done is not kept: it begins anew.
            return None
        manifests = {
            name: SourceManifest.load(self.store, name, self._manifest_path(name))
            for name in self.identity.names
        }
        for manifest in manifests.values():
            self._require_shards(manifest)
        return manifests

    def save(
        self, manifests: Mapping[str, SourceManifest], contamination: dict[str, Any] | None = None
    ) -> None:
        """Keep what the run begins with, and the report of what evaluation sets were found in it."""
        if contamination:
            path = f"runs/{self.run}/data/contamination.json"
            self.store.write_bytes(path, json.dumps(contamination, indent=1).encode() + b"\n")
        for name, manifest in manifests.items():
            manifest.save(self.store, self._manifest_path(name))
        # Last: it says that the others are whole.
        content = {"format": FORMAT, "identity": self.identity.to_json()}
        self.store.write_bytes(self._path, sealed.dumps(content))

    def has_checkpoint(self) -> bool:
        """Whether something is there to continue from."""
        return bool(self.store.list(f"runs/{self.run}/checkpoints/*/*", limit=1))

    @property
    def _path(self) -> str:
        return f"runs/{self.run}/data/data.json"

    def _manifest_path(self, source: str) -> str:
        return f"runs/{self.run}/data/sources/{source}.json"

    def _identity_in(self, content: dict[str, Any]) -> DataIdentity:
        """Identity of the data that the run began with.

        Raises:
            UserError: another version of the code has written it, and this one cannot read it.
        """
        try:
            if content["format"] == 1:
                return from_settings_v1(content["settings"])
            if content["format"] == FORMAT:
                return DataIdentity.model_validate(content["identity"])
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"name: {self.store.uri(self._path)} is damaged: {error}; choose another name"
            ) from None
        raise UserError(
            f"name: the data of run {self.run!r} is stored in format {content['format']}, and this version of "
            f"Longspan reads up to {FORMAT}; use the version that wrote it, or choose another name"
        )

    def _refusal(self, changes: Sequence[Difference]) -> str:
        lines = "; ".join(
            f"{each.key}: run {self.run!r} began with {each.saved}, this recipe has {each.current}"
            for each in changes
        )
        undo = "undo the change" if len(changes) == 1 else "undo the changes"
        return f"{lines}; {undo}, or choose another name"

    def _require_shards(self, manifest: SourceManifest) -> None:
        stored = {item.path for item in self.store.list(f"shards/{manifest.name}")}
        wanted = {block.shard for block in manifest.train + manifest.heldout}
        if gone := sorted(wanted - stored):
            raise UserError(
                f"name: run {self.run!r} can't go on: of corpora.{manifest.name}, as it began, "
                f"{len(gone)} of {len(wanted)} token shards are gone ({self.store.uri(gone[0])}); "
                "longspan ingest writes those anew whose raw objects are unchanged, else choose "
                "another name"
            )


def describe_drift(manifest: SourceManifest, objects: list[ObjectInfo]) -> str:
    """How the raw objects differ from those that a run began with; empty if they don't."""
    then = {item.path: item.version for item in manifest.objects}
    now = {item.path: item.version for item in objects}
    added = len(now.keys() - then.keys())
    changed = sum(then[path] != now[path] for path in now.keys() & then.keys())
    gone = len(then.keys() - now.keys())
    parts = []
    if added or changed:
        parts.append(
            f"{added + changed} objects were added or changed after this run started ({added} new, {changed} changed) "
            "and are ignored; start a run under a new name to use them"
        )
    if gone:
        parts.append(
            f"{gone} of its objects were deleted after it started; it still trains on their shards"
        )
    return "; ".join(parts)
