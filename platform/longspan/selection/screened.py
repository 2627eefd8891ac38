"""What one ingested object contains of the evaluation sets, kept beside its shards.

The result is one small object, written last, under a name that holds the fingerprint of the
evaluation sets and the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from longspan.selection.overlap import OverlapIndex, Overlaps
from longspan.shards.loss_mask import unmarked
from longspan.shards.manifest import PARTS, ObjectManifest, fingerprint_of
from longspan.shards.token_shards import Block, read_block
from longspan.storage import Store, sealed

FORMAT = 1
THREADS = 16


@dataclass(frozen=True, eq=False)
class ScreenedObject:
    """What an object's documents contain of the evaluation sets.

    Attributes:
        train: for its documents to train on, numbered from 0 over all of its train blocks.
        heldout: for its held-out documents, numbered likewise.
    """

    train: Overlaps
    heldout: Overlaps

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads."""
        return {part: getattr(self, part).to_json() for part in PARTS}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ScreenedObject:
        """The inverse of `to_json`."""
        return cls(**{part: Overlaps.from_json(value[part]) for part in PARTS})


def screen_object(store: Store, item: ObjectManifest, index: OverlapIndex) -> ScreenedObject:
    """Read an object's shards, look for the evaluation sets in them, and write the result.

    Raises:
        UserError: a shard is missing or corrupt, or the store fails.
    """
    path = _path(item, index)
    if path is None:
        return _nothing(item)
    result = ScreenedObject(*(_overlaps(store, getattr(item, part), index) for part in PARTS))
    value = {"format": FORMAT, "content": _content(item), **result.to_json()}
    store.write_bytes(path, sealed.dumps(value))
    return result


def screened(
    store: Store, objects: Sequence[ObjectManifest], index: OverlapIndex
) -> list[ScreenedObject | None]:
    """The results that are there for these objects, None where one is missing or out of date."""
    paths = [_path(item, index) for item in objects]
    # An object's folder lies in its source's.
    sources = sorted({path.rsplit("/", 2)[0] for path in paths if path})
    stored = {info.path for source in sources for info in store.list(source)}

    def load(item: ObjectManifest, path: str | None) -> ScreenedObject | None:
        if path is None:
            return _nothing(item)
        return _load(store, path, item) if path in stored else None

    with ThreadPoolExecutor(THREADS) as pool:  # Many small reads.
        return list(pool.map(load, objects, paths))


def _overlaps(store: Store, blocks: Sequence[Block], index: OverlapIndex) -> Overlaps:
    found = []
    for block in blocks:
        data = read_block(store, block)
        found.append(index.find(unmarked(data.tokens)[0], data.offsets))
    return Overlaps.joined(found, [block.documents for block in blocks])


def _nothing(item: ObjectManifest) -> ScreenedObject:
    assert not item.train + item.heldout, f"{item.path} has blocks"
    return ScreenedObject(Overlaps.joined([], []), Overlaps.joined([], []))


def _path(item: ObjectManifest, index: OverlapIndex) -> str | None:
    """Where an object's result is written; None for one without documents."""
    for block in item.train + item.heldout:
        return f"{block.shard.rsplit('/', 1)[0]}/overlap-{index.fingerprint}.json"
    return None


def _content(item: ObjectManifest) -> str:
    return fingerprint_of("", item.train, item.heldout)


def _load(store: Store, path: str, item: ObjectManifest) -> ScreenedObject | None:
    try:
        value = sealed.read(store, path)
        if (value["format"], value["content"]) != (FORMAT, _content(item)):
            return None
        return ScreenedObject.from_json(value)
    except (ValueError, TypeError, LookupError):  # Of another format, or damaged.
        return None
