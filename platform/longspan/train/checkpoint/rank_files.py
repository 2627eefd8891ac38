"""A checkpoint's parts: one safetensors file per rank, with its fragments, read by any number of ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longspan.errors import DamagedObject, UserError
from longspan.storage import Store

if TYPE_CHECKING:
    from longspan.train.checkpoint.fragments import Fragment

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Part:
    """What is known of a part without reading it.

    Attributes:
        path: in the store.
        bytes: its size.
        sha256: of its content.
        spans: (first element, elements) by parameter.
    """

    path: str
    bytes: int
    sha256: str
    spans: dict[str, tuple[int, int]]

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Part:
        """The inverse of `to_json`."""
        spans = {name: (start, elements) for name, (start, elements) in value["spans"].items()}
        return cls(**value | {"spans": spans})


class DamagedPart(UserError):
    """A part is not what was written."""


def write_part(fragments: Sequence[Fragment], local: Path, path: str) -> Part:
    """Write fragments to a local file, which is to become the object of that path.

    Raises:
        UserError: there is no room for the file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {
        _key(fragment.name, kind): tensor
        for fragment in fragments
        for kind, tensor in fragment.tensors.items()
    }
    try:
        save_file(tensors, local)
    except SafetensorError as error:  # Not an OSError, whatever the disk said.
        raise UserError(f"cannot write a part in {local.parent} (TMPDIR): {error}") from error
    spans = {fragment.name: (fragment.start, fragment.elements) for fragment in fragments}
    return Part(path, local.stat().st_size, _sha256(local), spans)


def read_parts(store: Store, parts: Sequence[Part], fragments: Sequence[Fragment]) -> None:
    """Overwrite fragments with what parts have of them; parts that have nothing are not read.

    Raises:
        DamagedPart: a part is missing, or not what was written.
    """
    missing = {fragment.name: fragment.elements for fragment in fragments}
    for part in parts:
        wanted = [fragment for fragment in fragments if _overlap(part, fragment)]
        if wanted:
            _read_part(store, part, wanted)
        for fragment in wanted:
            missing[fragment.name] -= len(_overlap(part, fragment))
    left = [name for name, elements in missing.items() if elements]
    assert not left, f"the parts have other than all elements of {left[:3]}"


def _read_part(store: Store, part: Part, fragments: Sequence[Fragment]) -> None:
    from safetensors import safe_open

    try:
        copy = store.local(part.path)
    except FileNotFoundError:
        raise DamagedPart(f"{store.uri(part.path)} is missing") from None
    except DamagedObject as error:
        raise DamagedPart(str(error)) from error
    with copy:
        file = Path(copy.path)
        if _sha256(file) != part.sha256:
            raise DamagedPart(f"{store.uri(part.path)} is not what was written")
        with safe_open(file, framework="pt") as stored:
            for fragment in fragments:
                both = _overlap(part, fragment)
                first = part.spans[fragment.name][0]
                for kind, tensor in fragment.tensors.items():
                    values = stored.get_slice(_key(fragment.name, kind))
                    here = slice(both.start - fragment.start, both.stop - fragment.start)
                    tensor[here] = values[both.start - first : both.stop - first]


def _overlap(part: Part, fragment: Fragment) -> range:
    """Elements of the parameter that both have."""
    start, elements = part.spans.get(fragment.name, (0, 0))
    first = max(start, fragment.start)
    return range(first, max(first, min(start + elements, fragment.start + fragment.elements)))


def _key(name: str, kind: str) -> str:
    return f"{name}/{kind}"


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
