"""Engine arguments that can change a reply, apart from those that decide only how fast and where it is computed.

Replies are known by the model and the former: they stay valid when the latter change, as after an out-of-memory
error. Sums in another order (parallelism, batch sizes, compilation) differ in their last bits, as they do between two
runs with the same arguments; they do not make another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHANGE_REPLIES = frozenset(
    {
        # Precision.
        "dtype",
        "quantization",
        "kv_cache_dtype",
        "mamba_cache_dtype",
        "mamba_ssm_cache_dtype",
        # Implementation of the model and its kernels.
        "attention_backend",
        "moe_backend",
        "linear_backend",
        "disable_sliding_window",
        "disable_cascade_attn",
        "model_impl",
        "language_model_only",
        # Tokens and sampling.
        "tokenizer_mode",
        "generation_config",
        "seed",
        "speculative_config",
        "structured_outputs_config",
        # Rendering of prompts, and parts taken out of replies.
        "chat_template_content_format",
        "default_chat_template_kwargs",
        "reasoning_parser",
        "tool_call_parser",
        "enable_auto_tool_choice",
        "exclude_tools_when_tool_choice_none",
    }
)
"""Arguments of `EngineOptions` with which a reply may be another one."""

KEEP_REPLIES = frozenset(
    {
        # Memory.
        "gpu_memory_utilization",
        "kv_cache_memory_bytes",
        "num_gpu_blocks_override",
        "cpu_offload_gb",
        "block_size",
        # Processes and devices.
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "enable_expert_parallel",
        "distributed_executor_backend",
        "disable_custom_all_reduce",
        "all2all_backend",
        # Scheduling.
        "max_num_seqs",
        "max_num_batched_tokens",
        "long_prefill_token_threshold",
        "enable_chunked_prefill",
        "enable_prefix_caching",
        "prefix_caching_hash_algo",
        "async_scheduling",
        "stream_interval",
        # Compilation.
        "enforce_eager",
        "optimization_level",
        "performance_mode",
        "cudagraph_capture_sizes",
        "max_cudagraph_capture_size",
        # Loading.
        "load_format",
        "safetensors_load_strategy",
        # What is reported besides replies.
        "max_logprobs",
        "enable_prompt_tokens_details",
        "enable_force_include_usage",
        "disable_log_stats",
    }
)
"""Arguments of `EngineOptions` that no reply depends on."""


def reply_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the engine arguments that can change a reply; unknown ones are taken for such."""
    return {key: value for key, value in arguments.items() if key not in KEEP_REPLIES}
