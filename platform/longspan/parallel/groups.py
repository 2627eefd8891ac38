"""Groups of workers that share every row: who belongs to which, and what they exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from longspan.parallel.arrangement import arrange


@dataclass(frozen=True)
class SequenceGroup:
    """The group of one rank. Each of its ranks computes on an equal slice of the tokens of the group's rows.

    Attributes:
        degree: ranks of a group.
        count: groups of all ranks together.
        index: number of this rank's group, from 0.
        rank: number of this rank in its group, from 0; also that of its slice.
        process_group: of the group's ranks; None at degree 1.
    """

    degree: int
    count: int
    index: int
    rank: int
    process_group: Any = None

    @classmethod
    def single(cls, rank: int, world_size: int) -> SequenceGroup:
        """Return a rank that shares its rows with no other."""
        return cls(1, world_size, rank, 0)

    @property
    def seat(self) -> int:
        """Number of this rank where the ranks of a group follow one another, group after group."""
        return self.index * self.degree + self.rank

    @property
    def is_first(self) -> bool:
        """Whether this rank speaks for its group: counts its rows and records them."""
        return self.rank == 0

    def slice_of(self, length: int) -> slice:
        """Return this rank's tokens of a row of ``length``."""
        assert length % self.degree == 0, f"rows of {length} tokens for {self.degree} workers"
        share = length // self.degree
        return slice(self.rank * share, (self.rank + 1) * share)

    def all_to_all(self, tensor: Tensor) -> Tensor:
        """Exchange parts within the group; differentiable, and all its ranks call it.

        Args:
            tensor: contiguous [degree, ...]; part r is for rank r.

        Returns:
            The same shape: part r is from rank r.
        """
        return _AllToAll.apply(tensor, self.process_group)

    def gather_tokens(self, part: Tensor) -> Tensor:
        """Return whole rows [B, S] from every rank's slices [B, S / degree]; all ranks of the group call it."""
        if self.degree == 1:
            return part
        parts = [torch.empty_like(part) for _ in range(self.degree)]
        dist.all_gather(parts, part.contiguous(), group=self.process_group)
        return torch.cat(parts, dim=1)


class _AllToAll(torch.autograd.Function):
    """`torch.distributed.all_to_all_single` of equal parts; gradients take the same way back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, process_group: Any) -> Tensor:
        ctx.process_group = process_group
        received = torch.empty_like(tensor)
        dist.all_to_all_single(received, tensor, group=process_group)
        return received

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        return _AllToAll.apply(gradient.contiguous(), ctx.process_group), None


def join_sequence_group(degree: int, nodes: Sequence[str] | None = None) -> SequenceGroup:
    """Form the groups of all ranks and return this rank's; every rank calls it, with the same arguments.

    Groups hold communicators: form them once per process group, not at every restart within a process.

    Args:
        degree: ranks of a group.
        nodes: each rank's node, by rank; None where all are on one node or ranks follow the nodes.

    Raises:
        UserError: the ranks cannot be divided into groups of this size.
    """
    world_size, rank = dist.get_world_size(), dist.get_rank()
    if degree == 1:
        return SequenceGroup.single(rank, world_size)
    groups = arrange(nodes or [""] * world_size, degree)
    # Every rank has to create every group, in the same order.
    created = [dist.new_group(list(ranks)) for ranks in groups]
    index = next(number for number, ranks in enumerate(groups) if rank in ranks)
    return SequenceGroup(degree, len(groups), index, groups[index].index(rank), created[index])
