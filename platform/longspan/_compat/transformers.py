"""Private interfaces of transformers 5.23: a model's attention function, numbers in config.json, ZeRO-3 loading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def attention_implementation(config: PretrainedConfig) -> str:
    """Return the name of the attention function that a model with this config uses.

    The name can be set in public, by `set_attn_implementation` or when a model is loaded, but not read.
    """
    return config._attn_implementation


def set_attention_implementation(config: PretrainedConfig, name: str) -> None:
    """Set the name of the attention function in a config, without a check.

    The public `PreTrainedModel.set_attn_implementation` refuses what an architecture does not declare support for.
    """
    config._attn_implementation = name


@contextmanager
def attention(config: PretrainedConfig, name: str) -> Iterator[None]:
    """Have the model of a config use a registered attention function within the block."""
    before = attention_implementation(config)
    set_attention_implementation(config, name)
    try:
        yield
    finally:
        set_attention_implementation(config, before)


@contextmanager
def unmasked_attention(
    config: PretrainedConfig, name: str, function: Callable[..., Any]
) -> Iterator[None]:
    """Have the model of a config use an attention function that is given no mask within the block.

    `AttentionInterface.register`, the public function, has no counterpart that removes a function.

    Args:
        config: of a model.
        name: which the function has within the block.
        function: with the arguments of transformers' own ones.
    """
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS[name] = function
    ALL_MASK_ATTENTION_FUNCTIONS[name] = lambda *_, **__: None
    try:
        with attention(config, name):
            yield
    finally:
        del ALL_ATTENTION_FUNCTIONS[name], ALL_MASK_ATTENTION_FUNCTIONS[name]


def supports_flash_attention(model: PreTrainedModel) -> bool:
    """Whether an architecture declares support for FlashAttention.

    In public transformers tells it by an error, and only where FlashAttention is installed.
    """
    return model._supports_flash_attn


def decode_special_floats(value: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a config.json with infinities and NaN, which transformers writes as tagged objects.

    The public functions that decode them read the file themselves.
    """
    from transformers import PretrainedConfig

    return PretrainedConfig._decode_special_floats(value)


@contextmanager
def sharded_loading(deepspeed_config: dict[str, Any]) -> Iterator[None]:
    """Have transformers shard each parameter under ZeRO-3 as it makes it, within the block.

    The public `HfDeepSpeedConfig` sets a global for as long as it lives; what unsets it is not documented.

    Args:
        deepspeed_config: of the engine that the model is for.
    """
    from transformers.integrations import HfDeepSpeedConfig, unset_hf_deepspeed_config

    config = HfDeepSpeedConfig(deepspeed_config)
    try:
        yield
    finally:
        del config
        unset_hf_deepspeed_config()
