"""vLLM's engine arguments, from the model's size and what there is to run it on, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from longspan.config.engine_options import ALWAYS
from longspan.errors import UserError
from longspan.model.facts import ModelFacts
from longspan.observe.tables import size
from longspan.serve.hardware import Hardware
from longspan.serve.model import ServedModel
from longspan.serve.schema import ServeSettings

GIBI = 2**30
CACHE_DTYPE_BYTES = 2
"""Keys and values are kept in bf16."""
MEMORY_SHARE = 0.92
"""Of a GPU's memory that vLLM takes (its gpu_memory_utilization)."""
WORKING_BYTES = 3 * GIBI
"""Of each GPU for activations, graphs and libraries."""
GPU_STEP_TOKENS = 8192
CPU_STEP_TOKENS = 4096
CPU_WINDOWS = 4
CPU_MEMORY_SHARE = 0.25


@dataclass(frozen=True)
class EnginePlan:
    """How one replica runs.

    Attributes:
        arguments: vLLM's engine arguments, but for the model and its name.
        bundle: what each of the engine's workers takes of the cluster.
        workers: how many there are.
        cache_tokens: about as many fit into the key-value cache.
        reasons: why, by argument.
        gpu: whether it runs on GPUs.
    """

    arguments: dict[str, Any]
    bundle: dict[str, float]
    workers: int
    cache_tokens: int
    reasons: dict[str, str]
    gpu: bool


def plan_engine(settings: ServeSettings, model: ServedModel, hardware: Hardware) -> EnginePlan:
    """Derive the engine's arguments; those of ``settings.engine`` stand as they are.

    Raises:
        UserError: the model doesn't fit.
    """
    derive = _on_gpus if hardware.gpus else _on_cpu
    plan = derive(settings, model, hardware)
    for key in settings.engine:
        plan.reasons[key] = "engine"
    return plan


def cache_bytes_per_token(facts: ModelFacts) -> int:
    """Keys and values of one token in all layers, in bytes."""
    return 2 * facts.layers * facts.kv_heads * facts.head_dim * CACHE_DTYPE_BYTES


def _on_cpu(settings: ServeSettings, model: ServedModel, hardware: Hardware) -> EnginePlan:
    per_token, memory = cache_bytes_per_token(model.facts), hardware.device.memory
    wanted = max(GIBI, CPU_WINDOWS * model.window * per_token)
    cache = min(wanted, int(memory * CPU_MEMORY_SHARE))
    why = f"{CPU_WINDOWS} windows, at least 1 GiB, at most a quarter of {size(memory)}"
    if settings.cache_gib:
        cache, why = int(settings.cache_gib * GIBI), "cache_gib"
    _require_a_window(cache, per_token, model)
    values: dict[str, tuple[Any, str]] = {
        "max_model_len": (model.window, _window_reason(settings)),
        "distributed_executor_backend": ("mp", "CPU: one process computes"),
        "enforce_eager": (True, "CPU: compiling takes longer than it saves"),
        "enable_chunked_prefill": (
            False,
            "CPU: vLLM's worker dies of a prompt in parts whose request has a seed",
        ),
        "max_num_batched_tokens": (
            max(model.window, CPU_STEP_TOKENS),
            "prompts are computed whole: the window, or more",
        ),
        "enable_prefix_caching": (True, "the next question about a document begins with it again"),
        "kv_cache_memory_bytes": (cache, why),
    }
    arguments, reasons = _settled(values, settings)
    return EnginePlan(arguments, {"CPU": 1.0}, 1, cache // per_token, reasons, gpu=False)


def _on_gpus(settings: ServeSettings, model: ServedModel, hardware: Hardware) -> EnginePlan:
    per_token, memory = cache_bytes_per_token(model.facts), hardware.device.memory
    degree, why = _tensor_parallel(settings, model, hardware)
    room = degree * (int(memory * MEMORY_SHARE) - WORKING_BYTES) - _weights(model.facts)
    values: dict[str, tuple[Any, str]] = {
        "max_model_len": (model.window, _window_reason(settings)),
        "tensor_parallel_size": (degree, why),
        "gpu_memory_utilization": (MEMORY_SHARE, f"of {size(memory)}; vLLM's own default"),
        "enable_chunked_prefill": (True, "a long prompt doesn't hold up the answers of others"),
        "max_num_batched_tokens": (
            GPU_STEP_TOKENS,
            "tokens of a step: more finish long prompts sooner, fewer keep others' answers even",
        ),
        "enable_prefix_caching": (True, "the next question about a document begins with it again"),
        "kv_cache_dtype": (
            "auto",
            "the model's own: 8-bit keys and values have cost long-context recall on Hopper",
        ),
    }
    if settings.cache_gib:
        room = int(settings.cache_gib * GIBI)
        values["kv_cache_memory_bytes"] = (room // degree, "cache_gib, of each GPU")
        _require_a_window(room, per_token, model)
    arguments, reasons = _settled(values, settings)
    bundle = {"CPU": 1.0, "GPU": 1.0}
    # Weights of fewer bits leave more room than is seen here; vLLM itself asks for a window's at least.
    cache_tokens = max(room // per_token, model.window)
    return EnginePlan(arguments, bundle, degree, cache_tokens, reasons, gpu=True)


def _tensor_parallel(
    settings: ServeSettings, model: ServedModel, hardware: Hardware
) -> tuple[int, str]:
    """The fewest GPUs of a node whose memory holds the weights and the cache of a whole window."""
    asked = settings.engine.get("tensor_parallel_size")
    if asked:
        return int(asked), "engine"
    weights = _weights(model.facts)
    window = model.window * cache_bytes_per_token(model.facts)
    of_each = int(hardware.device.memory * MEMORY_SHARE) - WORKING_BYTES
    parts = f"weights {size(weights)}, cache of a whole window {size(window)}"
    degree = 1
    while degree <= hardware.gpus:
        if model.facts.heads % degree == 0 and degree * of_each >= weights + window:
            return degree, f"{parts}; {degree} x {size(of_each)} hold them"
        degree *= 2
    raise UserError(
        f"model: {model.name} needs more memory than a node of {hardware.gpus} x "
        f"{hardware.device.name} has ({parts}); set a smaller window, or use larger nodes"
    )


def _require_a_window(cache: int, per_token: int, model: ServedModel) -> None:
    if cache // per_token < model.window:
        raise UserError(
            f"cache_gib: {size(cache)} hold {cache // per_token:,} tokens, and the window is "
            f"{model.window:,}; {model.window * per_token / GIBI:.2f} GiB are needed, or a smaller window"
        )


def _settled(
    values: dict[str, tuple[Any, str]], settings: ServeSettings
) -> tuple[dict[str, Any], dict[str, str]]:
    """Arguments and reasons apart, the user's own arguments over ours."""
    values |= {
        "enable_auto_tool_choice": (
            True,
            "requests with tools are answered as models do that know them",
        ),
        "tool_call_parser": ("hermes", "the form of most models with a ChatML template"),
        "allowed_origins": ([], "the gateway says which sites may call: limits.allow_origins"),
        "structured_outputs_config": (
            {"backend": "xgrammar"},
            "left to choose, vLLM takes for all requests what the first one needs",
        ),
        "max_logprobs": (
            max(settings.limits.max_logprobs, settings.limits.max_prompt_logprobs),
            "limits.max_logprobs, or max_prompt_logprobs where that is more",
        ),
    }
    if most := settings.limits.max_output_tokens:
        why = "limits.max_output_tokens, for requests that don't give max_tokens"
        values["override_generation_config"] = ({"max_new_tokens": most}, why)
    arguments = {key: value for key, (value, _) in values.items()}
    reasons = {key: reason for key, (_, reason) in values.items()}
    asked = dict(settings.engine)
    if given := asked.get("structured_outputs_config"):
        asked["structured_outputs_config"] = arguments["structured_outputs_config"] | given
    return arguments | ALWAYS | asked, reasons


def _window_reason(settings: ServeSettings) -> str:
    return "window" if settings.window else "the model's own, as exported"


def _weights(facts: ModelFacts) -> int:
    return 2 * facts.parameters
