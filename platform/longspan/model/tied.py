"""Checkpoints whose output head differs from the embeddings that their config ties it to.

transformers trains such a model with the two apart, and no export of it would be what its config says.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from longspan.errors import UserError

HEAD, EMBEDDINGS = "lm_head.weight", "embed_tokens.weight"
COMPARED_BYTES = 2**20


def require_tied_alike(folder: Path) -> None:
    """Compare the beginnings of the two in a local folder; the workers compare all of them.

    Args:
        folder: holds safetensors of a model whose config ties the two.

    Raises:
        UserError: they differ.
    """
    tensors = {
        name: (file, start, place)
        for file in sorted(folder.glob("*.safetensors"))
        for start, header in [_header(file)]
        for name, place in header.items()
        if name.endswith((HEAD, EMBEDDINGS))
    }
    heads = [name for name in tensors if name.endswith(HEAD)]
    embeddings = [name for name in tensors if name.endswith(EMBEDDINGS)]
    if len(heads) != 1 or len(embeddings) != 1:
        return
    head, embedding = tensors[heads[0]], tensors[embeddings[0]]
    same_kind = all(head[2][key] == embedding[2][key] for key in ("dtype", "shape"))
    if not same_kind or _beginning(*head) != _beginning(*embedding):
        raise differing(embeddings[0], heads[0])


def differing(first: str, second: str) -> UserError:
    """Return the error of two parameters that the config ties and the checkpoint does not."""
    return UserError(
        f"base_model: config.json ties {first} to {second} (tie_word_embeddings), but the checkpoint has "
        "different values for the two; set tie_word_embeddings to false in config.json to keep both, or "
        f"remove {second} from the checkpoint to keep {first} alone"
    )


def _header(file: Path) -> tuple[int, dict[str, Any]]:
    """Where a safetensors file's data begins, and each tensor's type, shape and place in it."""
    with file.open("rb") as content:
        prefix = content.read(8)
        if len(prefix) < 8:
            return 0, {}  # Truncated files are refused when the model is fetched.
        (length,) = struct.unpack("<Q", prefix)
        try:
            header = json.loads(content.read(min(length, 2**27)))
        except ValueError:
            return 0, {}
    return 8 + length, header


def _beginning(file: Path, start: int, place: dict[str, Any]) -> bytes:
    first, last = place["data_offsets"]
    with file.open("rb") as content:
        content.seek(start + first)
        return content.read(min(last - first, COMPARED_BYTES))
