"""Sizes of published models, as their config.json files give them."""

import pytest

from longspan.model.facts import ModelFacts, facts_from_config


@pytest.fixture(scope="session")
def llama2_7b() -> ModelFacts:
    return facts_from_config(
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "vocab_size": 32000,
            "max_position_embeddings": 4096,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
        }
    )
