"""Small JSON values that the ranks of a process group tell each other.

torch.distributed's own object collectives send pickles, and reading a pickle can run code: whoever gets
into the group's traffic would run code on every worker. JSON only ever becomes plain values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist

from longspan.errors import Unreachable, UserError

MAX_BYTES = 256 * 2**20
"""Upper bound on an encoded value; the largest we send is the record of a checkpoint with many parts."""


def broadcast_object(find: Callable[[], Any]) -> Any:
    """Call ``find`` on rank 0 and return its value on all ranks: two ranks that look may see two things.

    All ranks call it. Every rank, rank 0 included, gets the decoded copy, in which tuples are lists.

    Args:
        find: returns None, a bool, number or string, or a list, tuple or dict (with string keys) of such.

    Raises:
        UserError: ``find`` raised it on rank 0; raised on every rank (`Unreachable` stays that).
        TypeError: ``find`` returned something that JSON cannot hold.
    """
    payload, failure = b"", None
    if dist.get_rank() == 0:
        try:
            message = {"value": find()}
        except UserError as error:
            failure = error
            message = {"error": str(error), "is_unreachable": isinstance(error, Unreachable)}
        payload = encode(message)
    size = torch.tensor(len(payload), device=device_of_messages())
    dist.broadcast(size, src=0)
    tensor = _to_tensor(payload, _checked_size(int(size)))
    dist.broadcast(tensor, src=0)
    message = decode(_to_bytes(tensor))
    if failure is not None:
        raise failure
    if "error" in message:
        raise (Unreachable if message["is_unreachable"] else UserError)(message["error"])
    return message["value"]


def all_gather_objects(value: Any) -> list[Any]:
    """Return every rank's ``value``, by rank, on all ranks; all ranks call it.

    Raises:
        TypeError: ``value`` is something that JSON cannot hold; see `broadcast_object`.
    """
    payload = encode(value)
    own_size = torch.tensor([len(payload)], device=device_of_messages())
    gathered_sizes = [torch.zeros_like(own_size) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered_sizes, own_size)
    sizes = [_checked_size(int(size)) for size in gathered_sizes]
    own = _to_tensor(payload, max(sizes))
    gathered = [torch.empty_like(own) for _ in sizes]
    dist.all_gather(gathered, own)
    return [decode(_to_bytes(tensor)[:size]) for tensor, size in zip(gathered, sizes, strict=True)]


def encode(value: Any) -> bytes:
    """Encode a value as JSON.

    Raises:
        TypeError: it is, or holds, something that JSON cannot hold; the type is named.
        ValueError: it takes more than `MAX_BYTES`.
    """
    _require_json(value)
    payload = json.dumps(value).encode()
    if len(payload) > MAX_BYTES:
        raise ValueError(
            f"a value of {len(payload):,} bytes is too large to be sent between ranks "
            f"(limit {MAX_BYTES:,}); pass large data through the store"
        )
    return payload


def decode(payload: bytes) -> Any:
    """Decode what another rank sent.

    Raises:
        ValueError: it is not JSON, so it comes from no rank of this run.
    """
    try:
        return json.loads(payload)
    except ValueError:  # Also UnicodeDecodeError.
        raise ValueError(
            f"{len(payload):,} bytes that are not JSON arrived from another rank: it runs another version "
            "of this code, or something else writes into the workers' traffic"
        ) from None


def device_of_messages() -> torch.device:
    """Return the device on which tensors must be for the process group's backend."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def _require_json(value: Any) -> None:
    # json.dumps alone would turn the keys 1 and None into strings without a word.
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(
                    f"ranks send JSON, whose keys are strings; this key is of type {type(key).__name__}"
                )
            _require_json(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        for item in value:
            _require_json(item)
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise TypeError(
            f"ranks send JSON, which cannot hold a {type(value).__name__}; "
            "send its fields, and build it again from them"
        )


def _checked_size(size: int) -> int:
    """Return a size that another rank announced, if it is possible: it decides what is allocated."""
    if not 0 < size <= MAX_BYTES:
        raise ValueError(f"another rank announced a value of {size:,} bytes (limit {MAX_BYTES:,})")
    return size


def _to_tensor(payload: bytes, size: int) -> torch.Tensor:
    """Return ``payload`` as uint8 [size], filled up with zeros."""
    padded = torch.zeros(size, dtype=torch.uint8)
    if payload:
        padded[: len(payload)] = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    return padded.to(device_of_messages())


def _to_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.cpu().numpy().tobytes()
