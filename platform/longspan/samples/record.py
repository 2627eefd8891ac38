"""Folders that are either whole or absent, and a record of what is in them."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Contents:
    """What a sample holds, in documents and characters; zeros for one that is not text."""

    documents: int = 0
    characters: int = 0
    median: int = 0
    longest: int = 0


@dataclass(frozen=True)
class Record:
    """What was built and from what.

    Attributes:
        made_from: whatever the result depends on; another value means another result.
        files: size in bytes of every file, by its path inside the folder.
        contents: the figures for the table.
    """

    made_from: str
    files: dict[str, int]
    contents: Contents


def ensure(
    folder: Path, records: Path, made_from: str, build: Callable[[Path], Contents]
) -> tuple[Record, bool]:
    """Builds a folder unless it is there and whole.

    Args:
        folder: the final place; it appears there in one step, when `build` has returned.
        records: where the record and the unfinished folder are kept; on the same file system.
        made_from: see `Record`.
        build: writes the files into the empty folder it is given and says what they hold.

    Returns:
        The record, and whether the folder had to be built.
    """
    path = records / f"{folder.name}.json"
    known = _load(path)
    if known and known.made_from == made_from and known.files == _sizes(folder):
        return known, False
    unfinished = records / f"{folder.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    contents = build(unfinished)
    path.unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished.rename(folder)
    record = Record(made_from, _sizes(folder), contents)
    _save(record, path)
    return record, True


def _sizes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _load(path: Path) -> Record | None:
    try:
        fields = json.loads(path.read_text())
        return Record(fields["made_from"], fields["files"], Contents(**fields["contents"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save(record: Record, path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(record), indent=1))
    os.replace(new, path)
