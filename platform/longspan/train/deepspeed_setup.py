"""DeepSpeed as the engine uses it: its configuration, and the optimizer that it steps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from longspan._compat.deepspeed import disable_compiled_ops, full_shape
from longspan._compat.transformers import sharded_loading

if TYPE_CHECKING:
    from longspan.model.loss import CausalLMLoss
    from longspan.train.engine_config import EngineConfig


@contextmanager
def loading(config: EngineConfig) -> Iterator[None]:
    """Context to load the engine's model in: with ZeRO-3 no rank ever holds all of it on its device.

    transformers then shards each parameter as it is made, which it learns from a global of its own.
    """
    if config.zero_stage != 3:
        yield
        return
    use_deepspeed()
    with sharded_loading(deepspeed_config(config)):
        yield


def use_deepspeed() -> Any:
    """Return the module deepspeed, initialized on the default process group."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    # DeepSpeed would compile its shared-memory all-reduce for 100 s on the first start; gloo serves as well here.
    disable_compiled_ops()
    deepspeed.init_distributed(dist_backend=dist.get_backend(), dist_init_required=False)
    return deepspeed


def initialize(model: CausalLMLoss, config: EngineConfig) -> Any:
    """Return DeepSpeed's engine of a model, sharded over the ranks of the default process group."""
    deepspeed = use_deepspeed()
    optimizer = make_optimizer(model, config)
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=optimizer, config=deepspeed_config(config)
    )
    return engine


def make_optimizer(model: torch.nn.Module, config: EngineConfig) -> torch.optim.Optimizer:
    """Return AdamW over a model's parameters."""
    return torch.optim.AdamW(
        _parameter_groups(model, config.weight_decay),
        lr=config.schedule.peak,
        betas=config.betas,
        eps=config.eps,
        fused=True,  # one pass over memory instead of seven, on a GPU and on a CPU
    )


def deepspeed_config(config: EngineConfig) -> dict[str, Any]:
    """Return the settings that DeepSpeed is given."""
    return {
        # One "sample" per rank: weighting is ours (sums over tokens), DeepSpeed only averages over ranks.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.gradient_clipping,
        "bf16": {"enabled": config.precision == "bf16"},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": config.communication_data_type,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": config.zero_stage,
            "contiguous_gradients": True,
            # Stage 2 would divide bf16 gradients by the number of ranks, and round them, before it converts them for
            # the reduce-scatter. It sends as much either way: its reduce-scatter is an all-reduce of the same bucket.
            "reduce_scatter": config.zero_stage == 3 or config.precision == "fp32",
            "overlap_comm": torch.cuda.is_available() and config.zero_stage > 1,
            "stage3_gather_16bit_weights_on_model_save": True,
            **_offloads(config),
        },
        "steps_per_print": 10**12,
        "wall_clock_breakdown": False,
    }


def _offloads(config: EngineConfig) -> dict[str, Any]:
    """DeepSpeed's settings for what is kept in host memory.

    torch's fused AdamW steps on the CPU: DeepSpeedCPUAdam would be compiled first, and is slower.
    """
    assert config.zero_stage == 3 or not config.offload_parameters, "ZeRO 1 and 2 shard no weights"
    host = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    offloads = {
        "offload_optimizer": config.offload_optimizer,
        "offload_param": config.offload_parameters,
    }
    return {key: host for key, wanted in offloads.items() if wanted}


def _parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; norms and biases (one dimension) do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if _dimensions(parameter) > 1]
    vectors = [parameter for parameter in trained if _dimensions(parameter) <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _dimensions(parameter: torch.nn.Parameter) -> int:
    return len(full_shape(parameter))
