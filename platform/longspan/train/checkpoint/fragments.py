"""The state of training in fragments: what this rank has of each parameter, wherever ZeRO has put it.

ZeRO flattens parameters and deals them out, by other rules at every stage. A fragment says which
elements of which parameter it holds, so that a state which some ranks wrote at some stage can be
read by any number of ranks at any stage, without a conversion in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from longspan._compat.deepspeed import optimizer_shards

MASTER = "master"
MOMENTS = ("exp_avg", "exp_avg_sq")
KINDS = (MASTER, *MOMENTS)


@dataclass(frozen=True)
class Fragment:
    """A rank's part of one parameter.

    Attributes:
        name: of the parameter.
        start: its first element here, in the flattened parameter.
        tensors: by kind, [elements]: the fp32 master and Adam's moments, fp32; of a parameter that is not trained only
            the parameter itself, in its own type, in place of the master.
    """

    name: str
    start: int
    tensors: dict[str, torch.Tensor]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return len(self.tensors[MASTER])


class Copies:
    """A copy of the state in the CPU's memory, taken again and again in one place.

    New memory would cost several times as much as the copying: the kernel clears each page of it.
    """

    def __init__(self) -> None:
        """No memory is taken yet."""
        self._places: dict[tuple[str, int, int], Fragment] = {}

    def take(self, fragments: Sequence[Fragment]) -> list[Fragment]:
        """Return copies of the fragments; overwrites those of the last call."""
        copies = [self._place(fragment) for fragment in fragments]
        for copy, fragment in zip(copies, fragments, strict=True):
            for kind, tensor in fragment.tensors.items():
                copy.tensors[kind].copy_(tensor.detach(), non_blocking=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return copies

    def _place(self, fragment: Fragment) -> Fragment:
        key = (fragment.name, fragment.start, fragment.elements)
        if key not in self._places:
            pinned = torch.cuda.is_available()
            tensors = {
                kind: torch.empty(fragment.elements, dtype=tensor.dtype, pin_memory=pinned)
                for kind, tensor in fragment.tensors.items()
            }
            self._places[key] = Fragment(fragment.name, fragment.start, tensors)
        return self._places[key]


def fragments_of(deepspeed: Any) -> list[Fragment]:
    """Return this rank's fragments: writable views of the optimizer's memory.

    Every element of every parameter is in exactly one rank's fragments.
    """
    found = (
        Fragment(shard.name, shard.start, {MASTER: shard.master, **shard.moments})
        for shard in optimizer_shards(deepspeed, MOMENTS)
    )
    return [fragment for fragment in found if fragment.elements]
