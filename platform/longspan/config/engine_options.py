"""Arguments of the vLLM engine that a recipe or a serving config may set: ``engine`` and ``generator.engine``.

vLLM has some 300 arguments. Among them are names of Python classes and modules that it imports, weights
that are pickles, programs of other repositories, files and addresses that it reads or connects to. So only
what is listed here can be set, and only to plain values: a new release of vLLM adds nothing to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from longspan.config.section import Section

Count = Annotated[int, Field(ge=1)]
Registered = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""Name of something that comes with vLLM: no module, class, file or address can be written so."""


class StructuredOutputs(Section):
    """How output is held to a schema."""

    backend: Literal["auto", "xgrammar", "guidance", "outlines", "lm-format-enforcer"] = "auto"
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False


class Speculation(Section):
    """Speculative decoding without another model."""

    method: Literal["ngram", "mtp"]
    num_speculative_tokens: Count
    prompt_lookup_min: Count | None = None
    prompt_lookup_max: Count | None = None


class EngineOptions(Section):
    """The arguments, by vLLM's own names; docs of vLLM explain them."""

    # Numbers and memory.
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None = None
    quantization: Registered | None = None
    kv_cache_dtype: Registered | None = None
    gpu_memory_utilization: float | None = Field(None, gt=0, le=1)
    kv_cache_memory_bytes: Count | None = None
    num_gpu_blocks_override: Count | None = None
    cpu_offload_gb: float | None = Field(None, ge=0)
    block_size: Count | None = None
    # Processes and devices.
    tensor_parallel_size: Count | None = None
    pipeline_parallel_size: Count | None = None
    enable_expert_parallel: bool | None = None
    distributed_executor_backend: Literal["mp", "ray", "uni"] | None = None
    disable_custom_all_reduce: bool | None = None
    all2all_backend: Registered | None = None
    # Scheduling.
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    long_prefill_token_threshold: int | None = Field(None, ge=0)
    enable_chunked_prefill: bool | None = None
    enable_prefix_caching: bool | None = None
    prefix_caching_hash_algo: Literal["sha256", "sha256_cbor"] | None = None
    async_scheduling: bool | None = None
    stream_interval: Count | None = None
    max_logprobs: int | None = Field(None, ge=0)
    seed: int | None = Field(None, ge=0)
    speculative_config: Speculation | None = None
    # Kernels and compilation.
    enforce_eager: bool | None = None
    optimization_level: int | None = Field(None, ge=0, le=3)
    performance_mode: Literal["balanced", "interactivity", "throughput"] | None = None
    cudagraph_capture_sizes: list[Count] | None = Field(None, max_length=1000)
    max_cudagraph_capture_size: Count | None = None
    attention_backend: Registered | None = None
    moe_backend: Registered | None = None
    linear_backend: Registered | None = None
    disable_sliding_window: bool | None = None
    disable_cascade_attn: bool | None = None
    mamba_cache_dtype: Registered | None = None
    mamba_ssm_cache_dtype: Registered | None = None
    # The model's folder: safetensors, and nothing else.
    load_format: Literal["safetensors", "fastsafetensors"] | None = None
    safetensors_load_strategy: Literal["lazy", "eager", "prefetch"] | None = None
    model_impl: Literal["auto", "vllm", "transformers"] | None = None
    tokenizer_mode: Literal["auto", "hf", "slow", "mistral"] | None = None
    generation_config: Literal["auto", "vllm"] | None = None
    language_model_only: bool | None = None
    # Requests and answers.
    structured_outputs_config: StructuredOutputs | None = None
    reasoning_parser: Registered | None = None
    tool_call_parser: Registered | None = None
    enable_auto_tool_choice: bool | None = None
    exclude_tools_when_tool_choice_none: bool | None = None
    chat_template_content_format: Literal["auto", "string", "openai"] | None = None
    default_chat_template_kwargs: dict[str, bool | int | float | str] | None = None
    enable_prompt_tokens_details: bool | None = None
    enable_force_include_usage: bool | None = None
    disable_log_stats: bool | None = None


ALWAYS = {"trust_remote_code": False, "load_format": "safetensors"}
"""vLLM's own load_format, "auto", reads pickles where a folder has no safetensors."""

WHY_NOT = {
    "trust_remote_code": "a model's own code is never run",
    "load_format": "only safetensors are read, since a pickle can run code; leave it out",
    "hf_token": "configs are kept; set HF_TOKEN in the environment of Ray's nodes",
    "hf_overrides": "the model's config.json alone says what the model is; export the model with other values",
}


def checked_options(engine: Mapping[str, Any], reserved: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments as they are to be given to vLLM.

    Args:
        engine: as they are written.
        reserved: arguments that are derived from another key, and that key.

    Raises:
        ValueError: one is derived from another key, can't be set at all, or has such a value.
    """
    for key in engine:
        if key in reserved:
            raise ValueError(f"{key!r} can't be set here; set {reserved[key]}")
        if key not in EngineOptions.model_fields:
            raise ValueError(f"{key!r} can't be set here: {_why_not(key)}")
    try:
        options = EngineOptions.model_validate(engine)
    except ValidationError as error:
        first = error.errors()[0]
        key, value = ".".join(map(str, first["loc"])), repr(first["input"])[:80]
        why = WHY_NOT.get(str(first["loc"][0]))
        must = first["msg"].removeprefix("Input ").removeprefix("should ")
        raise ValueError(f"{key} must {must}, but is {value}{f': {why}' if why else ''}") from None
    return options.model_dump(exclude_unset=True)


def _why_not(key: str) -> str:
    known = "arguments that load code, other files or other formats are not offered"
    return WHY_NOT.get(key, f"{known}; those that can be set are in docs/serving.md")
