"""Real text that is on every machine after `make setup`: sources of Python and of its packages."""

from __future__ import annotations

import hashlib
import json
import sysconfig
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from longspan.storage import Store

SUFFIXES = {".c", ".cuh", ".h", ".hpp", ".md", ".py", ".pyi", ".pyx", ".rst", ".txt"}
OBJECT_BYTES = 8_000_000


def documents(least_bytes: int, characters: int = 0) -> Iterator[str]:
    """Source files in an order that looks random and is always the same, up to so many bytes.

    Args:
        least_bytes: of UTF-8 text, at least.
        characters: cut files at ends of lines into documents of about this length; 0 leaves them
            whole.
    """
    taken = 0
    for path in _files():
        for text in _cut(path.read_text(errors="ignore").replace("\0", ""), characters):
            if taken >= least_bytes:
                return
            yield text
            taken += len(text.encode())
    raise SystemExit(
        f"the environment has {taken / 1e6:.0f} MB of text, not {least_bytes / 1e6:.0f}"
    )


def write_jsonl(store: Store, folder: str, texts: Iterable[str]) -> list[str]:
    """Write documents as JSON Lines of about 8 MB each; returns the objects' paths."""
    paths: list[str] = []
    lines: list[str] = []
    size = 0

    def flush() -> None:
        paths.append(f"{folder}/{len(paths):05d}.jsonl")
        store.write_bytes(paths[-1], "".join(lines).encode())

    for text in texts:
        lines.append(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        size += len(lines[-1])
        if size >= OBJECT_BYTES:
            flush()
            lines, size = [], 0
    if lines:
        flush()
    return paths


def in_batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Documents, `size` at a time."""
    texts = iter(texts)
    while batch := list(islice(texts, size)):
        yield batch


def _files() -> list[Path]:
    found: list[tuple[bytes, Path]] = []
    for key in ("stdlib", "purelib"):
        root = Path(sysconfig.get_path(key))
        for path in root.rglob("*"):
            name = path.relative_to(root).as_posix()
            packages = key == "stdlib" and name.startswith("site-packages")
            if path.suffix in SUFFIXES and path.is_file() and not packages:
                found.append((hashlib.sha256(name.encode()).digest(), path))
    return [path for _, path in sorted(found)]


def _cut(text: str, characters: int) -> Iterator[str]:
    piece: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True) if characters else [text]:
        piece.append(line)
        size += len(line)
        if size >= characters:
            yield "".join(piece)
            piece, size = [], 0
    if piece:
        yield "".join(piece)
