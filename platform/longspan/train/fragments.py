"""The state of training in fragments: what this rank has of each parameter, wherever ZeRO has put it.

ZeRO flattens parameters and deals them out, by other rules at every stage. A fragment says which
elements of which parameter it holds, so that a state which some ranks wrote at some stage can be
read by any number of ranks at any stage, without a conversion in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

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
        """How many elements it has."""
        return len(self.tensors[MASTER])


class Copies:
    """A copy of the state in the CPU's memory, taken again and again in one place.

    New memory would cost several times as much as the copying: the kernel clears each page of it.
    """

    def __init__(self) -> None:
        """No memory is taken yet."""
        self._places: dict[tuple[str, int, int], Fragment] = {}

    def take(self, fragments: Sequence[Fragment]) -> list[Fragment]:
        """The same as fragments are now; overwrites what the last call gave."""
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
    """What this rank has: views of the optimizer's own memory, which may be written to.

    Every element of every parameter is in exactly one rank's fragments.
    """
    _make_moments(deepspeed.optimizer)
    stage_3 = deepspeed.zero_optimization_stage() == 3
    found = _at_stage_3(deepspeed) if stage_3 else _below_stage_3(deepspeed)
    return [fragment for fragment in found if fragment.elements]


def take_over(deepspeed: Any, steps: int) -> None:
    """Use fragments that were written to, after `steps` steps of the optimizer; all ranks call it."""
    optimizer = deepspeed.optimizer
    for state in optimizer.optimizer.state.values():
        state["step"].fill_(steps)
    if deepspeed.zero_optimization_stage() < 3:
        optimizer.update_lp_params()
        _broadcast_frozen(deepspeed.module)
        return
    # As DeepSpeed does when it loads a checkpoint of its own.
    for low, master in zip(
        optimizer.fp16_partitioned_groups_flat, optimizer.fp32_partitioned_groups_flat, strict=True
    ):
        low.data.copy_(master.data)
    if kept_whole := optimizer.persistent_parameters:
        kept_whole[0].partition(kept_whole)
        kept_whole[0].all_gather(kept_whole)


def _below_stage_3(deepspeed: Any) -> Iterator[Fragment]:
    optimizer, rank = deepspeed.optimizer, dist.get_rank()
    for name, parameter in deepspeed.module.named_parameters():
        if not parameter.requires_grad:
            share = _frozen_share(parameter, rank)
            yield Fragment(name, share.start, {MASTER: parameter.data.view(-1)[share]})
        elif (here := parameter._hp_mapping) is not None:
            master = optimizer.single_partition_of_fp32_groups[here.param_group_index]
            # DeepSpeed links the moments of the first group of parameters only.
            whole = {MASTER: master.data, **optimizer.optimizer.state[master]}
            at = here.hp_fragment_address
            tensors = {kind: whole[kind].narrow(0, at.start, at.numel) for kind in KINDS}
            yield Fragment(name, here.lp_fragment_address.start, tensors)


def _at_stage_3(deepspeed: Any) -> Iterator[Fragment]:
    optimizer, rank = deepspeed.optimizer, dist.get_rank()
    for name, parameter in deepspeed.module.named_parameters():
        # The last ranks' parts are padded.
        size = parameter.ds_tensor.ds_numel
        start = min(rank * size, parameter.ds_numel)
        real = min(size, parameter.ds_numel - start)
        if not parameter.requires_grad:
            yield Fragment(name, start, {MASTER: parameter.ds_tensor.data[:real]})
            continue
        tensors = {
            kind: optimizer.get_local_fp32_param(parameter, None if kind == MASTER else kind)
            for kind in KINDS
        }
        whole = {kind: tensor.detach()[:real] for kind, tensor in tensors.items()}
        yield Fragment(name, start, whole)


def _frozen_share(parameter: torch.nn.Parameter, rank: int) -> slice:
    """Elements of a parameter that is not trained, and that every rank has whole, which a rank writes and reads."""
    size = -(-parameter.numel() // dist.get_world_size())
    return slice(min(rank * size, parameter.numel()), min((rank + 1) * size, parameter.numel()))


def _broadcast_frozen(module: torch.nn.Module) -> None:
    """Let all ranks have the elements of parameters that are not trained which each of them has read."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            continue
        for rank in range(dist.get_world_size()):
            share = parameter.data.view(-1)[_frozen_share(parameter, rank)]
            if share.numel():
                dist.broadcast(share, rank)


def _make_moments(optimizer: Any) -> None:
    """The moments of AdamW, which it makes at its first step, where they are not there yet."""
    if hasattr(optimizer, "fp32_partitioned_groups_flat"):
        masters = optimizer.fp32_partitioned_groups_flat
    else:
        masters = optimizer.single_partition_of_fp32_groups
    for master in masters:
        state = optimizer.optimizer.state[master]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=master.device)
            for kind in MOMENTS:
                state[kind] = torch.zeros_like(master.data)
