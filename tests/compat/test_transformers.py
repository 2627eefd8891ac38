"""Private interfaces of transformers."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PretrainedConfig
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from longspan._compat.transformers import (
    attention,
    attention_implementation,
    decode_special_floats,
    set_attention_implementation,
    sharded_loading,
    supports_flash_attention,
    unmasked_attention,
)


@pytest.fixture
def model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def test_a_config_names_the_attention_function(model: LlamaForCausalLM) -> None:
    assert attention_implementation(model.config) == "eager"
    set_attention_implementation(model.config, "unknown")
    assert attention_implementation(model.config) == "unknown"
    model.set_attn_implementation("sdpa")
    assert attention_implementation(model.config) == "sdpa"


def test_a_block_has_another_attention_function(model: LlamaForCausalLM) -> None:
    with pytest.raises(ZeroDivisionError), attention(model.config, "sdpa"):
        assert attention_implementation(model.config) == "sdpa"
        raise ZeroDivisionError
    assert attention_implementation(model.config) == "eager"


def test_a_block_has_an_attention_function_without_a_mask(model: LlamaForCausalLM) -> None:
    masks: list[Any] = []

    def attend(module: Any, query: Any, key: Any, value: Any, mask: Any, **_: Any) -> Any:
        masks.append(mask)
        return query.transpose(1, 2), None

    with unmasked_attention(model.config, "own", attend):
        model(torch.zeros(1, 3, dtype=torch.long))
    assert masks == [None]
    assert "own" not in ALL_ATTENTION_FUNCTIONS
    assert "own" not in ALL_MASK_ATTENTION_FUNCTIONS
    assert attention_implementation(model.config) == "eager"


def test_an_architecture_states_whether_it_supports_flash_attention(
    model: LlamaForCausalLM,
) -> None:
    assert supports_flash_attention(model) is True


def test_numbers_that_json_lacks_are_decoded(tmp_path: Path) -> None:
    config = PretrainedConfig()
    config.limits = {"low": -math.inf, "high": [math.inf, 1.0]}
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["limits"] != config.limits
    assert decode_special_floats(written)["limits"] == config.limits


def test_models_are_sharded_as_they_are_loaded() -> None:
    config = {"zero_optimization": {"stage": 3}}
    with pytest.raises(ZeroDivisionError), sharded_loading(config):
        assert is_deepspeed_zero3_enabled()
        raise ZeroDivisionError
    assert not is_deepspeed_zero3_enabled()
