"""State of a source's ingest: objects done, objects to do, and the result."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from longspan.corpus.resolve import resolve
from longspan.corpus.sources import SourceSpec
from longspan.errors import UserError
from longspan.ingest.objects import Settings, object_folder, object_manifest_path
from longspan.shards.manifest import ObjectManifest, SourceManifest, manifest_path
from longspan.storage import ObjectInfo, Store, sealed

THREADS = 16


class SourceState:
    """One source: its objects as they are now (or repositories), and those of them that are ingested.

    Attributes:
        spec: the source.
        pending: the objects still to be read.

    Raises:
        UserError: the source names no object, or the store fails.
    """

    def __init__(
        self, store: Store, spec: SourceSpec, settings: Settings, bad_input: Literal["stop", "skip"]
    ) -> None:
        self.spec = spec
        self._store = store
        self._settings = settings
        self._objects = resolve(store, spec)
        self._before = _load(store, spec.name)
        stored = {item.path for item in store.list(f"shards/{spec.name}")}
        self._done = {}
        for info, manifest in zip(self._objects, self._manifests(stored), strict=True):
            whole = manifest and all(
                block.shard in stored for block in manifest.train + manifest.heldout
            )
            # What was skipped before has to stop the job now: it is read again, to say where.
            if manifest and whole and not (manifest.bad and bad_input == "stop"):
                self._done[info.path] = manifest
        self.pending = [info for info in self._objects if info.path not in self._done]

    def describe(self) -> str:
        """A line that says what there is to do."""
        size = sum(info.size for info in self.pending)
        todo = f"{len(self.pending)} to read ({size / 1e6:.1f} MB)" if self.pending else "all done"
        return f"ingest: {self.spec.name}: {len(self._objects)} {self._objects_in_words}, {todo}"

    def add(self, manifest: ObjectManifest) -> None:
        """Take note that an object is done."""
        self._done[manifest.path] = manifest

    def finish(self, progress: Callable[[str], None]) -> SourceManifest:
        """Save the source's manifest, if it is new or another one, and return it.

        Raises:
            UserError: nothing is held out, or nothing is left to train on.
        """
        manifest = self._manifest()
        progress(_summary(manifest))
        _check_split(manifest, self._fraction)
        if manifest != self._before:
            manifest.save(self._store)
        return manifest

    def ready(self, progress: Callable[[str], None]) -> SourceManifest:
        """The manifest of what is ingested by now; nothing is saved.

        Raises:
            UserError: nothing is, or nothing of it is held out or left to train on.
        """
        source, there = self.spec.name, f"{len(self._done)} of {len(self._objects)}"
        progress(f"data: {source}: {there} {self._objects_in_words} are ready")
        if not self._done:
            raise UserError(
                f"start_on=ready: corpora.{source} has none of its {len(self._objects)} "
                f"{self._objects_in_words} ready; run longspan ingest with this recipe, and start "
                "once it has done some"
            )
        manifest = self._manifest()
        parts = [("to train on", manifest.train)]
        parts += [("held out", manifest.heldout)] if self._fraction else []
        for what, blocks in parts:
            if self.pending and not blocks:
                raise UserError(
                    f"start_on=ready: corpora.{source} has no document {what} in the {there} "
                    f"{self._objects_in_words} that are ready; start once there are more"
                )
        _check_split(manifest, self._fraction)
        return manifest

    @property
    def _fraction(self) -> float:
        return self._settings.heldout_of(self.spec)

    @property
    def _objects_in_words(self) -> str:
        return "repositories" if self.spec.of_folders else "objects"

    def _manifest(self) -> SourceManifest:
        settings = self._settings
        return SourceManifest.of(
            self.spec.name, settings.tokenizer, settings.separator, self._done.values()
        )

    def _manifests(self, stored: set[str]) -> list[ObjectManifest | None]:
        """For every object what it became with these settings, where that is known."""
        keys = [self._settings.key(self.spec, info) for info in self._objects]
        known = {item.key: item for item in self._before.objects} if self._before else {}

        def find(key: str, info: ObjectInfo) -> ObjectManifest | None:
            path = object_manifest_path(object_folder(self.spec, info, key))
            if key in known:
                return known[key]
            return _load_object(self._store, path) if path in stored else None

        # Many small reads, after an ingest that did not come to its end.
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(find, keys, self._objects))


def _load(store: Store, name: str) -> SourceManifest | None:
    if not store.exists(manifest_path(name)):
        return None
    try:
        return SourceManifest.load(store, name)
    except UserError:  # Of another format, or damaged: the objects' own manifests are there.
        return None


def _load_object(store: Store, path: str) -> ObjectManifest | None:
    try:
        return ObjectManifest.from_json(sealed.read(store, path))
    except (ValueError, TypeError, LookupError, AttributeError):  # Of another format, or damaged.
        return None


def _check_split(manifest: SourceManifest, fraction: float) -> None:
    documents = manifest.train_documents + manifest.heldout_documents
    source = f"corpora.{manifest.name}"
    if not documents:
        raise UserError(f"{source}: no document is left of its objects ({manifest.skipped})")
    key = f"{source}.heldout_fraction"
    if manifest.heldout and not manifest.train:
        raise UserError(
            f"{source}: a held-out fraction of {fraction:g} holds out all of its {documents} documents, "
            f"and none is left to train on; {_way_out(key, manifest, documents)}"
        )
    if fraction > 0 and not manifest.heldout:
        raise UserError(
            f"{source}: a held-out fraction of {fraction:g} holds out none of its {documents} documents; "
            f"{_way_out(key, manifest, documents)}"
        )


def _way_out(key: str, manifest: SourceManifest, documents: int) -> str:
    """Settings of a source's own held-out fraction that work."""
    none = f"{key}=0, which holds none out"
    lowest = min(item.lowest for item in manifest.objects)
    # Rounded up, to a number that is short and enough.
    digits = 2 - math.floor(math.log10(max(lowest, 1e-12)))
    enough = (math.floor(lowest * 10**digits) + 1) / 10**digits
    if documents < 2 or enough >= 1:
        return f"set {none}, or add documents"
    return f"set {key}={enough:g}, which holds one out, or {none}"


def _summary(manifest: SourceManifest) -> str:
    skipped = ", ".join(f"{count} {reason}" for reason, count in manifest.skipped.items())
    encoded = ", ".join(f"{count} by {name}" for name, count in manifest.tokenizers.items())
    unverified = sum(not item.verified for item in manifest.objects)
    warning = (
        f"; the store keeps nothing that {unverified} of its objects could be compared with"
        if unverified
        else ""
    )
    return (
        f"ingest: {manifest.name}: {manifest.train_documents} documents and "
        f"{manifest.train_tokens} tokens to train on, {manifest.heldout_documents} documents and "
        f"{manifest.heldout_tokens} tokens held out; objects encoded: {encoded}; "
        f"skipped: {skipped or 'nothing'}{warning}"
    )
