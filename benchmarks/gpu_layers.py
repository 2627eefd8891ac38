"""Layers of a model on packed rows: tokens per second, MFU and peak memory; and what fp32 accumulation costs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.gpu_shapes import (
    Place,
    Section,
    Shape,
    documents_of,
    one_line,
    packed_positions,
    squares_of,
)
from longspan.model.attention_functions import register
from longspan.model.kernel_functions import Kernels, install
from longspan.model.loss import CausalLMLoss
from longspan.model.tiled_norms import tile_norms
from longspan.model.tiling import tile_mlps
from longspan.plan.flops import model_flops_utilization, packed_flops
from longspan.plan.hardware import peak_tflops
from longspan.plan.memory import USABLE, WorkerMemory, Workload, worker_memory
from longspan.plan.savers import Savers

GIB = 2**30
LOSS_CHUNK = 8192
MICRO_BATCHES = 4
"""Rows of one update, one after another, whose gradients accumulate."""


def measure_layers(
    shape: Shape,
    place: Place,
    lengths: list[int],
    attention: str,
    kernels: Kernels | None,
    has_time: Callable[[], bool],
) -> Section:
    """Forward and backward of one packed row of each length, with checkpointed layers.

    The MLP and the norms are tiled only where the plan's memory does not suffice without, as in a recipe.
    """
    section = Section(
        f"Layers: {shape.layers} of hidden size {shape.hidden:,}, attention {attention}",
        {
            "length": "tokens of a row",
            "savers": "tiled MLP, norms",
            "kernels": "kernels",
            "seconds": "s",
            "tokens_per_s": "tokens/s",
            "tflops": "TFLOP/s",
            "mfu": "MFU",
            "peak": "activations and loss, GiB",
            "planned": "planned, GiB",
            "ratio": "planned / measured",
        },
        note=(
            "Forward and backward in checkpointed layers, with the chunked loss, without an optimizer. FLOPs are the "
            "model's, causal and within documents: what is computed again does not count."
        ),
    )
    for length in lengths:
        for used in (None, kernels) if kernels else (None,):
            name = f"{length:,} tokens" + (", liger" if used else "")
            if not has_time():
                section.missing.append((name, "no time is left; see --seconds"))
                continue
            try:
                section.rows.append(_layer_row(shape, place, length, attention, used))
            except torch.OutOfMemoryError as error:
                section.missing.append((name, one_line(error)))
            place.empty()
    return section


def _layer_row(
    shape: Shape, place: Place, length: int, attention: str, kernels: Kernels | None
) -> dict[str, Any]:
    is_tiled, planned = _plan(shape, place, length)
    model = _model(shape, place, attention, kernels, is_tiled)
    tokens = torch.randint(shape.vocab, (1, length), device=place.device)
    positions = packed_positions(length, place.device)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = place.allocated()

    def work() -> None:
        model(tokens, positions, tokens).backward()

    place.reset_peak()
    seconds = place.seconds(work)
    peak = place.peak()
    flops = packed_flops(shape.computed(), length, squares_of(documents_of(length)))
    known = _known_peak(place)
    measured = (peak - before) / GIB if peak is not None else None
    return {
        "length": length,
        "savers": "yes" if is_tiled else "no",
        "kernels": kernels.name if kernels else "none",
        "seconds": seconds,
        "tokens_per_s": length / seconds,
        "tflops": flops / seconds / 1e12,
        "mfu": model_flops_utilization(flops, seconds, known) if known else None,
        "peak": measured,
        "planned": planned / GIB,
        "ratio": planned / GIB / measured if measured else None,
    }


def _plan(shape: Shape, place: Place, length: int) -> tuple[bool, int]:
    """Whether the MLP has to be tiled, and the planned bytes of activations and loss."""
    planned = 0
    for is_tiled in (False, True):
        memory = _planned(shape, length, place.precision, is_tiled)
        planned = memory.total - memory.states.total - memory.buffers
        weights_and_gradients = 2 * 2 * shape.facts().parameters
        if weights_and_gradients + planned <= USABLE * place.memory:
            return is_tiled, planned
    return True, planned


def _planned(shape: Shape, length: int, precision: str, is_tiled: bool) -> WorkerMemory:
    workload = Workload(
        length,
        loss_chunk=LOSS_CHUNK,
        savers=Savers(tiled_mlp=is_tiled, activation_checkpointing=True),
    )
    return worker_memory(shape.facts(), workload, 2, 1, precision)


def _model(
    shape: Shape, place: Place, attention: str, kernels: Kernels | None, is_tiled: bool
) -> CausalLMLoss:
    model: Any = shape.model(place.device, place.dtype)
    register(attention)
    model.config._attn_implementation = attention
    if kernels:
        install(model, kernels)
    model.activation_checkpointing_enable({"use_reentrant": False})
    if is_tiled:
        tile_mlps(model, shape.hidden)
        tile_norms(model, shape.hidden)
    return CausalLMLoss(model, LOSS_CHUNK)


def _known_peak(place: Place) -> float | None:
    if place.device.type != "cuda":
        return None
    tflops = peak_tflops(torch.cuda.get_device_name(place.device), place.precision)
    return tflops * 1e12 if tflops else None


def measure_accumulation(shape: Shape, place: Place, length: int, attention: str) -> Section:
    """An update of several micro-batches under DeepSpeed whose gradients accumulate in fp32 and in bf16."""
    section = Section(
        f"Accumulation: {MICRO_BATCHES} rows of {length:,} tokens, ZeRO stage 2",
        {
            "name": "gradients accumulate in",
            "seconds": "s per update",
            "peak": "peak, GiB",
            "planned": "planned, GiB",
        },
        note="fp32 is what runs do; DeepSpeed's default is bf16.",
    )
    try:
        _join_alone(place)
        for kind in ("fp32", "bf16"):
            section.rows.append(_accumulation_row(shape, place, length, attention, kind))
            place.empty()
    except Exception as error:  # DeepSpeed and its packages fail in ways of their own.
        section.missing.append(("accumulation", one_line(error)))
    place.empty()
    return section


def _accumulation_row(
    shape: Shape, place: Place, length: int, attention: str, kind: str
) -> dict[str, Any]:
    model = _model(shape, place, attention, None, False)
    place.reset_peak()
    engine = _engine(model, kind)
    tokens = torch.randint(shape.vocab, (1, length), device=place.device)
    positions = packed_positions(length, place.device)

    def update() -> None:
        for number in range(1, MICRO_BATCHES + 1):
            engine.set_gradient_accumulation_boundary(number == MICRO_BATCHES)
            loss = engine(tokens, positions, tokens)
            engine.backward(loss / (MICRO_BATCHES * length), scale_wrt_gas=False)
            engine.step()

    seconds = place.seconds(update)
    peak = place.peak()
    planned = _planned(shape, length, "bf16", False).total
    engine.destroy()
    return {
        "name": kind,
        "seconds": seconds,
        "peak": peak / GIB if peak is not None else None,
        "planned": planned / GIB if kind == "fp32" else None,
    }


def _engine(model: nn.Module, kind: str) -> Any:
    """DeepSpeed's engine as runs have it, or with its own default types of gradients."""
    from longspan.train.deepspeed_setup import deepspeed_config, make_optimizer, use_deepspeed
    from longspan.train.engine_config import EngineConfig
    from longspan.train.learning_rate import CosineSchedule

    config = EngineConfig(
        schedule=CosineSchedule(1e-5, 1e-6, 0, 100),
        zero_stage=2,
        precision="bf16",
        betas=(0.9, 0.95),
        eps=1e-8,
        weight_decay=0.1,
        gradient_clipping=1.0,
        num_sources=1,
    )
    settings = deepspeed_config(config)
    if kind == "bf16":
        del settings["data_types"], settings["communication_data_type"]
        del settings["zero_optimization"]["reduce_scatter"]
    deepspeed = use_deepspeed()
    optimizer = make_optimizer(model, config)
    return deepspeed.initialize(model=model, optimizer=optimizer, config=settings)[0]


def _join_alone(place: Place) -> None:
    """Make a process group of this process, which listens on loopback only."""
    import torch.distributed as dist

    from longspan.train.elastic.rendezvous import LOOPBACK, use_interface_of

    if dist.is_initialized():
        return
    use_interface_of(LOOPBACK)
    # What DeepSpeed expects to find.
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR=LOOPBACK)
    os.environ.setdefault("MASTER_PORT", "29500")
    backend = "nccl" if place.device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
