"""Free space where jobs write: the store, temporary files, caches, shared memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from longspan.cli.checks.finding import Finding

GIB = 2**30
WARNING_BYTES = 20 * GIB
"""A checkpoint of a model of 1B parameters takes 12 GiB, and two are kept."""
ERROR_BYTES = 2 * GIB
SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_BYTES = 2 * GIB


def check_disk(store_root: str) -> Iterator[Finding]:
    """Check the free space of each file system that jobs write to.

    Args:
        store_root: of the store; a bucket is not looked at.
    """
    folders = {"temporary files": Path(tempfile.gettempdir()), "Hugging Face cache": _hub_cache()}
    if "://" not in store_root:
        folders = {"store": Path(store_root).absolute(), **folders}
    yield from (_finding(uses, free) for uses, free in _by_file_system(folders).items())
    if SHARED_MEMORY.is_dir():
        free = shutil.disk_usage(SHARED_MEMORY).free
        text = f"{free / GIB:.1f} GiB free in {SHARED_MEMORY}, which Ray's object store takes"
        if free < SHARED_MEMORY_BYTES:
            yield Finding(
                "warning", "shared memory", text, "docker run --shm-size=8g, or remount it larger"
            )
        else:
            yield Finding("ok", "shared memory", text)


def _finding(uses: str, free: int) -> Finding:
    text = f"{free / GIB:.1f} GiB free for {uses}"
    if free < ERROR_BYTES:
        return Finding(
            "error", "disk", text, "make room, or move them: storage.root, TMPDIR, HF_HOME"
        )
    if free < WARNING_BYTES:
        return Finding(
            "warning",
            "disk",
            text,
            "large models need more: storage.root, TMPDIR, HF_HOME move them",
        )
    return Finding("ok", "disk", text)


def _by_file_system(folders: Mapping[str, Path]) -> dict[str, int]:
    """Free bytes by what a file system is used for, with the folders."""
    uses: dict[int, list[str]] = {}
    free: dict[int, int] = {}
    for use, folder in folders.items():
        existing = next(each for each in (folder, *folder.parents) if each.exists())
        device = existing.stat().st_dev
        uses.setdefault(device, []).append(f"{use} ({folder})")
        free[device] = shutil.disk_usage(existing).free
    return {", ".join(named): free[device] for device, named in uses.items()}


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"
    )
    return Path(home).expanduser().absolute()
