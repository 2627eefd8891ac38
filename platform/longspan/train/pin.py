"""What a run trains on, kept from its start: later changes of the corpora are another run's data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longspan.errors import UserError
from longspan.ingest.manifest import SourceManifest
from longspan.storage import sealed

if TYPE_CHECKING:
    from longspan.recipe.schema import Recipe
    from longspan.storage import ObjectInfo, Store

FORMAT = 1
UNSET = "its default"
# The order of rows, which checkpoints tell apart, says the rest of it.
NOT_OF_DATA = {"name", "weight", "base_weight", "prompt_loss", "pack"}


def data_settings(recipe: Recipe, tokenizer: str) -> dict[str, Any]:
    """What the data depends on besides the raw objects, by recipe key; defaults are left out.

    Args:
        recipe: what is asked for.
        tokenizer: hash of the tokenizer's files.
    """
    settings: dict[str, Any] = {
        "corpora": [corpus.name for corpus in recipe.corpora],
        "tokenizer": f"files with hash {tokenizer}",
        "document_separator": recipe.document_separator,
        "heldout.fraction": recipe.heldout.fraction,
    }
    if recipe.deduplicate != "none":
        settings["deduplicate"] = recipe.deduplicate
    if recipe.decontaminate:
        settings["decontaminate"] = recipe.decontaminate.model_dump(mode="json")
    for corpus in recipe.corpora:
        stated = corpus.model_dump(mode="json", exclude=NOT_OF_DATA, exclude_defaults=True)
        if isinstance(stated["path"], str):
            stated["path"] = [stated["path"]]
        settings |= {f"corpora.{corpus.name}.{key}": value for key, value in stated.items()}
    return json.loads(json.dumps(settings))


@dataclass(frozen=True)
class Pin:
    """The data of one run: its sources' manifests, below the run's folder.

    Attributes:
        store: where the run is.
        run: the run's name.
        settings: what its recipe says now, see `data_settings`.
    """

    store: Store
    run: str
    settings: dict[str, Any]

    def load(self) -> dict[str, SourceManifest] | None:
        """The manifests that the run began with, by source; None if it has not begun.

        Raises:
            UserError: the recipe's data settings are others now (a key is named), or some of the
                data is gone.
        """
        if not self.store.exists(self._path):
            return None
        try:
            content = sealed.read(self.store, self._path)
        except sealed.Damaged as error:
            raise UserError(f"name: {self.store.uri(self._path)} is damaged: {error}") from None
        if content["format"] != FORMAT:
            raise UserError(
                f"name: the data of run {self.run!r} is of another format; choose another name"
            )
        changed = self._changed(content["settings"])
        if changed and self.has_checkpoint():
            raise UserError(changed)
        if changed:  # What was done is not kept: it begins anew.
            return None
        manifests = {
            name: SourceManifest.load(self.store, name, self._manifest_path(name))
            for name in self.settings["corpora"]
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
        content = {"format": FORMAT, "settings": self.settings}
        self.store.write_bytes(self._path, sealed.dumps(content))

    def has_checkpoint(self) -> bool:
        """Whether something is there to continue from."""
        return bool(self.store.list(f"runs/{self.run}/checkpoints/*/*", limit=1))

    @property
    def _path(self) -> str:
        return f"runs/{self.run}/data/data.json"

    def _manifest_path(self, source: str) -> str:
        return f"runs/{self.run}/data/sources/{source}.json"

    def _changed(self, before: dict[str, Any]) -> str | None:
        """What differs from what the run began with, in words."""
        for key in before | self.settings:
            was, now = before.get(key, UNSET), self.settings.get(key, UNSET)
            if was != now:
                return (
                    f"{key}: run {self.run!r} began with {was}, this recipe has {now}; "
                    "undo the change, or choose another name"
                )
        return None

    def _require_shards(self, manifest: SourceManifest) -> None:
        stored = {item.path for item in self.store.list(f"shards/{manifest.name}")}
        wanted = {block.shard for block in manifest.train + manifest.heldout}
        if gone := sorted(wanted - stored):
            raise UserError(
                f"name: run {self.run!r} can't go on: of corpora.{manifest.name}, as it began, "
                f"{len(gone)} of {len(wanted)} token shards are gone ({self.store.uri(gone[0])}); "
                "jobs/ingest.py writes those anew whose raw objects are unchanged, else choose "
                "another name"
            )


def news(manifest: SourceManifest, objects: list[ObjectInfo]) -> str:
    """How the raw objects differ from those that a run began with; empty if they don't."""
    then = {item.path: item.version for item in manifest.objects}
    now = {item.path: item.version for item in objects}
    added = len(now.keys() - then.keys())
    changed = sum(then[path] != now[path] for path in now.keys() & then.keys())
    gone = len(then.keys() - now.keys())
    parts = []
    if added or changed:
        parts.append(
            f"{added + changed} objects since then ({added} new, {changed} changed) are not in it; "
            "a new name would use them"
        )
    if gone:
        parts.append(f"{gone} of its objects are gone since then; it still trains on them")
    return "; ".join(parts)
