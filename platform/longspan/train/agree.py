"""What all ranks have to know alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist

from longspan.errors import UserError

T = TypeVar("T")


def from_first_rank(find: Callable[[], T]) -> T:
    """What the first rank finds, on all ranks: the world may change from one look to the next.

    Raises:
        UserError: the first rank's, on every rank.
    """
    found: list[T | UserError | None] = [None]
    if dist.get_rank() == 0:
        try:
            found[0] = find()
        except UserError as error:
            found[0] = error
    dist.broadcast_object_list(found, src=0, device=device_of_messages())
    if isinstance(found[0], UserError):
        raise found[0]
    return found[0]  # pyrefly: ignore


def from_all_ranks(value: T) -> list[T]:
    """Every rank's value, on all ranks."""
    found: list[T | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found  # pyrefly: ignore


def device_of_messages() -> torch.device:
    """Where a tensor has to be that ranks tell each other."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
