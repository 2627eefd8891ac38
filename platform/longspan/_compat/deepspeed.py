"""Private interfaces of DeepSpeed 0.19: the optimizer state of each ZeRO stage, as views of DeepSpeed's memory.

DeepSpeed's public functions (`safe_get_local_fp32_param` and others) serve ZeRO stage 3 only, copy, or gather whole
parameters from all ranks. A checkpoint needs each rank's own part at every stage, without a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


def disable_compiled_ops() -> None:
    """Keep DeepSpeed from compiling operators, which takes minutes at their first use.

    No setting turns off its shared-memory all-reduce.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__ = {}


def full_shape(parameter: torch.Tensor) -> tuple[int, ...]:
    """Return the shape of a whole parameter: one that ZeRO-3 has sharded is empty, and keeps its shape beside it."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def full_state_dict(engine: Any) -> dict[str, torch.Tensor] | None:
    """Return all weights of a model under ZeRO-3 on rank 0, in the CPU's memory, None elsewhere; all ranks call it.

    The public `save_16bit_model` writes them to a file of pickles.
    """
    return engine._zero3_consolidated_16bit_state_dict()


@dataclass(frozen=True)
class OptimizerShard:
    """This rank's part of one parameter in the optimizer: views of its memory, fp32 [elements].

    Attributes:
        name: of the parameter.
        start: its first element here, in the flattened parameter.
        master: weights that the optimizer steps; of a frozen parameter the parameter itself, in its own type.
        moments: the optimizer's state, by key; empty for a frozen parameter.
    """

    name: str
    start: int
    master: torch.Tensor
    moments: dict[str, torch.Tensor]


def optimizer_shards(engine: Any, moments: Sequence[str]) -> Iterator[OptimizerShard]:
    """Iterate over this rank's parts of all parameters; some may be empty.

    Args:
        engine: DeepSpeed's, with ZeRO and an optimizer of Adam's kind.
        moments: keys of the optimizer's state. It makes them at its first step; where they are missing, zeros are
            made here.
    """
    _make_moments(engine.optimizer, moments)
    if engine.zero_optimization_stage() == 3:
        return _shards_at_stage_3(engine, moments)
    return _shards_below_stage_3(engine, moments)


def sync_params_from_master(engine: Any, optimizer_steps: int) -> None:
    """Set the model's weights from master weights that were written to; all ranks call it.

    Args:
        engine: DeepSpeed's.
        optimizer_steps: steps that the optimizer has made with the state that was written.
    """
    optimizer = engine.optimizer
    for state in optimizer.optimizer.state.values():
        state["step"].fill_(optimizer_steps)
    if engine.zero_optimization_stage() < 3:
        optimizer.update_lp_params()
        _broadcast_frozen(engine.module)
        return
    # As DeepSpeed does when it loads a checkpoint of its own.
    for low, master in zip(
        optimizer.fp16_partitioned_groups_flat, optimizer.fp32_partitioned_groups_flat, strict=True
    ):
        low.data.copy_(master.data)
    if kept_whole := optimizer.persistent_parameters:
        kept_whole[0].partition(kept_whole)
        kept_whole[0].all_gather(kept_whole)


@dataclass(frozen=True)
class GradientTypes:
    """Data types of gradients in a ZeRO optimizer.

    Attributes:
        accumulation: in which gradients of several backward passes are to be added.
        communication: in which ranks are to add their gradients.
        buckets: of the buckets that are sent.
        partition: of the memory that holds this rank's part of the gradients.
        has_reduce_scatter: whether gradients are divided by the number of ranks before they are converted for sending.
    """

    accumulation: torch.dtype
    communication: torch.dtype
    buckets: frozenset[torch.dtype]
    partition: torch.dtype
    has_reduce_scatter: bool


def gradient_types(engine: Any) -> GradientTypes:
    """Return the data types that DeepSpeed made of its settings, some of which it ignores without a message."""
    optimizer = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        partition = optimizer.grad_partitions_flat_buffer.dtype
    else:
        groups = range(len(optimizer.bit16_groups))
        is_fp32 = all(optimizer._use_compact_grad_partition_buffer(group) for group in groups)
        partition = torch.float32 if is_fp32 else optimizer.dtype
    return GradientTypes(
        accumulation=optimizer.gradient_accumulation_dtype,
        communication=optimizer.communication_data_type,
        buckets=frozenset(optimizer.ipg_buckets),
        partition=partition,
        has_reduce_scatter=optimizer.reduce_scatter,
    )


def _shards_below_stage_3(engine: Any, moments: Sequence[str]) -> Iterator[OptimizerShard]:
    optimizer, rank = engine.optimizer, dist.get_rank()
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            share = _frozen_share(parameter, rank)
            yield OptimizerShard(name, share.start, parameter.data.view(-1)[share], {})
        elif (here := parameter._hp_mapping) is not None:
            master = optimizer.single_partition_of_fp32_groups[here.param_group_index]
            # DeepSpeed links the moments of the first group of parameters only.
            state = optimizer.optimizer.state[master]
            start, count = here.hp_fragment_address.start, here.hp_fragment_address.numel
            yield OptimizerShard(
                name,
                here.lp_fragment_address.start,
                master.data.narrow(0, start, count),
                {key: state[key].narrow(0, start, count) for key in moments},
            )


def _shards_at_stage_3(engine: Any, moments: Sequence[str]) -> Iterator[OptimizerShard]:
    optimizer, rank = engine.optimizer, dist.get_rank()
    for name, parameter in engine.module.named_parameters():
        # The last ranks' parts are padded.
        size = parameter.ds_tensor.ds_numel
        start = min(rank * size, parameter.ds_numel)
        real = min(size, parameter.ds_numel - start)
        if not parameter.requires_grad:
            yield OptimizerShard(name, start, parameter.ds_tensor.data[:real], {})
            continue
        master, *states = (
            optimizer.get_local_fp32_param(parameter, key).detach()[:real]
            for key in (None, *moments)
        )
        yield OptimizerShard(name, start, master, dict(zip(moments, states, strict=True)))


def _frozen_share(parameter: torch.nn.Parameter, rank: int) -> slice:
    """Return the elements that a rank writes and reads of a frozen parameter, which every rank has whole."""
    size = -(-parameter.numel() // dist.get_world_size())
    return slice(min(rank * size, parameter.numel()), min((rank + 1) * size, parameter.numel()))


def _broadcast_frozen(module: torch.nn.Module) -> None:
    """Give all ranks the elements of frozen parameters that each of them has read."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            continue
        for rank in range(dist.get_world_size()):
            share = parameter.data.view(-1)[_frozen_share(parameter, rank)]
            if share.numel():
                dist.broadcast(share, rank)


def _make_moments(optimizer: Any, moments: Sequence[str]) -> None:
    if hasattr(optimizer, "fp32_partitioned_groups_flat"):
        masters = optimizer.fp32_partitioned_groups_flat
    else:
        masters = optimizer.single_partition_of_fp32_groups
    for master in masters:
        state = optimizer.optimizer.state[master]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=master.device)
            for key in moments:
                state[key] = torch.zeros_like(master.data)
