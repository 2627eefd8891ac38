"""Sealed checkpoints: each rank lists its files with size and SHA-256, and nothing unlisted is loaded.

DeepSpeed's state files are pickles, so a file is opened only when it is the one that was written.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from longspan.errors import UserError
from longspan.storage import sealed

FINISHED = "finished"
"""The mark, written last, of a whole checkpoint made under torchrun; Ray Train keeps a list of its own."""


@dataclass(frozen=True)
class CheckpointFacts:
    """What a run must agree with to continue from a checkpoint."""

    update: int
    """Updates done; the next one has this number."""
    world_size: int
    zero_stage: int
    order: str
    """Fingerprint of the data and its global order."""
    settings: dict[str, str] = field(default_factory=dict)
    """What else makes it this run, in words, by recipe key."""


def checkpoint_name(update: int) -> str:
    """Folder name of the checkpoint taken after ``update`` updates."""
    return f"update-{update:07d}"


def update_of(name: str) -> int:
    """The number in a :func:`checkpoint_name`."""
    return int(name.removeprefix("update-"))


def seal(folder: Path, rank: int, facts: CheckpointFacts) -> None:
    """Write the list of this rank's files, last, beside them."""
    files = {
        str(path.relative_to(folder)): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    content = {"facts": asdict(facts), "files": files}
    (folder / _seal_name(rank)).write_bytes(sealed.dumps(content))


def open_sealed(folder: Path, expected: CheckpointFacts) -> CheckpointFacts:
    """Verify every file and that the run may continue from here; ``expected.update`` is not compared.

    Raises:
        UserError: a seal or a file is missing or damaged, or the checkpoint is of another run, number of
            workers or ZeRO stage (the key that differs is named, with both values).
    """
    seals = [_opened(folder, path) for path in sorted(folder.glob(_seal_name("*")))]
    if not seals:
        raise UserError(
            f"checkpoint {folder.name}: no seal in it, so it was never finished; delete it to go on"
        )
    facts = CheckpointFacts(**seals[0]["facts"])
    if len(seals) != facts.world_size:
        raise UserError(
            f"checkpoint {folder.name}: {len(seals)} of {facts.world_size} workers' parts are there"
        )
    for content in seals:
        for name, digest in content["files"].items():
            path = folder / name
            if not path.is_file() or _digest(path) != digest:
                raise UserError(
                    f"checkpoint {folder.name}: {name} is {'damaged' if path.is_file() else 'missing'}"
                )
    _must_agree("workers", facts.world_size, expected.world_size)
    _must_agree("training.zero_stage", facts.zero_stage, expected.zero_stage)
    for key, wanted in expected.settings.items():
        _must_agree(key, facts.settings.get(key, "nothing of it"), wanted)
    if facts.order != expected.order:
        raise UserError(
            "name: the run to continue has another order of data (corpora, weights or seed changed); "
            "choose another name, or undo the change"
        )
    return facts


def _must_agree(key: str, saved: int | str, wanted: int | str) -> None:
    if saved != wanted:
        raise UserError(
            f"{key}: the checkpoint to continue from has {saved}, this run {wanted}; "
            "undo the change, or choose another name"
        )


def _opened(folder: Path, path: Path) -> dict[str, Any]:
    try:
        return sealed.loads(path.read_bytes())
    except sealed.Damaged as error:
        raise UserError(f"checkpoint {folder.name}: {path.name} is damaged: {error}") from None


def _seal_name(rank: int | str) -> str:
    return f"seal-{rank:05d}.json" if isinstance(rank, int) else f"seal-{rank}.json"


def _digest(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }
