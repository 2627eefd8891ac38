import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from longspan.errors import UserError
from longspan.model.facts import EXACT_FAMILIES, facts_from_config, read_facts, rope_of_config
from longspan.model.positions import Positions
from tests.model.processes import run_python

SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}

CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "llama-tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama-mha": LlamaConfig(**{**SIZES, "num_key_value_heads": 4}),
    "llama-head-dim": LlamaConfig(**SIZES, head_dim=32),
    "llama-biases": LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "mistral": MistralConfig(**SIZES),
    "mistral-head-dim": MistralConfig(**SIZES, head_dim=32),
    "qwen2": Qwen2Config(**SIZES),
    "qwen2-tied": Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SIZES),
    "qwen3-tied": Qwen3Config(**SIZES, head_dim=24, tie_word_embeddings=True, attention_bias=True),
    "olmo2": Olmo2Config(**SIZES),
}


def as_json(config: PretrainedConfig, **changes: Any) -> dict[str, Any]:
    return {**json.loads(config.to_json_string(use_diff=False)), "architectures": None, **changes}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_parameter_count_is_the_built_models(name: str) -> None:
    facts = facts_from_config(as_json(CONFIGS[name]))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIGS[name])
    assert facts.parameters == sum(p.numel() for p in model.parameters())
    embeddings = {id(m.weight): m.weight for m in (model.get_input_embeddings(), model.lm_head)}
    assert facts.embedding_parameters == sum(p.numel() for p in embeddings.values())
    matrices = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert facts.matmul_parameters >= sum(m.weight.numel() for m in matrices)


def test_exact_families_are_counted_without_torch(tmp_path: Path) -> None:
    folders = []
    for name, config in CONFIGS.items():
        if config.model_type in EXACT_FAMILIES:
            folders.append(tmp_path / name)
            folders[-1].mkdir()
            (folders[-1] / "config.json").write_text(json.dumps(as_json(config)))
    program = (
        "import sys\n"
        "from longspan.model.facts import read_facts\n"
        "for folder in sys.argv[1:]: assert read_facts(folder).parameters > 0\n"
        "assert not {'torch', 'transformers', 'ray'} & set(sys.modules), 'imported'\n"
    )
    run_python(program, *folders)


def test_facts_of_a_model_folder(tiny: Path) -> None:
    facts = read_facts(tiny)
    assert (facts.layers, facts.hidden, facts.heads, facts.kv_heads) == (2, 64, 2, 1)
    assert (facts.head_dim, facts.vocab, facts.window, facts.tied) == (32, 512, 256, True)
    assert facts.positions == Positions("none", 10_000.0, 1.0, 256)
    model = AutoModelForCausalLM.from_pretrained(tiny)
    assert facts.parameters == model.num_parameters()
    assert facts.non_embedding_parameters == facts.parameters - 512 * 64


def test_both_forms_of_rope_settings_are_read_alike() -> None:
    new = {"rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}}
    old = {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}
    assert rope_of_config(new) == rope_of_config(old) == new["rope_parameters"]
    assert rope_of_config({"rope_theta": 5e5, "rope_scaling": None}) == {
        "rope_type": "default",
        "rope_theta": 5e5,
    }


def test_the_models_own_scaling_is_part_of_its_positions() -> None:
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}
    scaling |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    old_form = as_json(CONFIGS["llama"], rope_parameters=None, rope_theta=5e5, rope_scaling=scaling)
    positions = facts_from_config(old_form).positions
    assert positions.base == 5e5
    assert dict(positions.own) == {**scaling, "rope_theta": 5e5}


def test_a_sliding_window_is_a_fact() -> None:
    assert facts_from_config(as_json(MistralConfig(**SIZES))).sliding_window == 4096
    unlimited = MistralConfig(**SIZES, sliding_window=None)
    assert facts_from_config(as_json(unlimited)).sliding_window is None
    assert facts_from_config(as_json(CONFIGS["qwen2"])).sliding_window is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "no model_type"),
        (as_json(CONFIGS["llama"], architectures=["BertForMaskedLM"]), "not a causal language"),
        (as_json(CONFIGS["llama"], hidden_size=None), "lacks hidden_size"),
        (as_json(CONFIGS["llama"], num_local_experts=8), "mixture of experts"),
        (as_json(CONFIGS["llama"], model_type="no_such_thing"), "'no_such_thing' is not a causal"),
        (as_json(GPT2Config()), "lacks"),
        (
            as_json(
                CONFIGS["llama"],
                rope_parameters={"full": {"rope_theta": 1e6}, "sliding": {"rope_theta": 1e4}},
            ),
            "different rotary positions by layer",
        ),
    ],
)
def test_a_config_that_cannot_be_trained_is_one_message(config: Any, message: str) -> None:
    with pytest.raises(UserError, match=rf"^base_model: .*{message}"):
        facts_from_config(config)


def test_a_missing_or_damaged_config_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="base_model: there is no"):
        read_facts(tmp_path)
    for text in ('{"model_type": "llama"', "[" * 100_000, '{"hidden_size": ' + "9" * 100_000):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match="not valid JSON"):
            read_facts(tmp_path)


def test_gemma_is_counted_though_its_logits_are_capped() -> None:
    # The count is right; training it is refused by CausalLMLoss.
    facts = facts_from_config(as_json(Gemma2Config(**SIZES, head_dim=16)))
    assert facts.tied and facts.parameters > facts.embedding_parameters
