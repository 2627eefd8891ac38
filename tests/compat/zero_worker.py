"""One rank of the contract tests of DeepSpeed: what it finds at each ZeRO stage, as lines of JSON."""

import json
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist

from longspan._compat.deepspeed import (
    GradientTypes,
    disable_compiled_ops,
    full_shape,
    full_state_dict,
    gradient_types,
    optimizer_shards,
    sync_params_from_master,
)

MOMENTS = ("exp_avg", "exp_avg_sq")
WRITTEN, STEPS = 0.5, 9


def main() -> None:
    """Print what holds at each stage."""
    import deepspeed

    disable_compiled_ops()
    dist.init_process_group("gloo")
    deepspeed.init_distributed(dist_backend="gloo", dist_init_required=False)
    for stage in (1, 2, 3):
        print(json.dumps({"stage": stage, **_found(_engine(stage), stage)}), flush=True)
    dist.destroy_process_group()


def _engine(stage: int) -> Any:
    import deepspeed

    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    groups = [{"params": [model.weight]}, {"params": [model.bias]}]
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "bf16": {"enabled": stage > 1},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": stage,
            "reduce_scatter": stage != 2,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
    }
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    return deepspeed.initialize(model=model, optimizer=optimizer, config=config)[0]


def _found(engine: Any, stage: int) -> dict[str, Any]:
    shards = list(optimizer_shards(engine, MOMENTS))
    elements = {shard.name: len(shard.master) for shard in shards}
    zeros = not any(moment.any() for shard in shards for moment in shard.moments.values())
    weights = _weights(engine, stage)
    equal = all(
        torch.equal(shard.master.to(weights[shard.name].dtype), weights[shard.name].flatten())
        for shard in shards
    )
    types = _names(gradient_types(engine))
    for shard in shards:
        shard.master.fill_(WRITTEN)
    sync_params_from_master(engine, STEPS)
    return {
        "elements": elements,
        "starts": [shard.start for shard in shards],
        "moments": [list(shard.moments) for shard in shards],
        "moments_are_zero": zeros,
        "masters_are_weights": equal,
        "types": types,
        "shapes": [full_shape(each) for each in engine.module.parameters()],
        "written": {name: tensor.unique().tolist() for name, tensor in _weights(engine, stage).items()},
        "steps": [state["step"].item() for state in engine.optimizer.optimizer.state.values()],
    }  # fmt: skip


def _weights(engine: Any, stage: int) -> dict[str, torch.Tensor]:
    found = full_state_dict(engine) if stage == 3 else engine.module.state_dict()
    assert found is not None
    return found


def _names(types: GradientTypes) -> dict[str, Any]:
    return {key: str(value) for key, value in asdict(types).items()} | {
        "buckets": sorted(map(str, types.buckets))
    }
