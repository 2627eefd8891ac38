import json
from pathlib import Path

import pytest
from transformers import BambaConfig

from longspan.errors import UserError
from longspan.model.config_json import parse_config
from longspan.model.facts import facts_from_config, read_facts


def test_numbers_that_json_does_not_have_are_read_as_transformers_writes_them(
    tmp_path: Path,
) -> None:
    config = BambaConfig(
        vocab_size=128, hidden_size=64, num_attention_heads=4, num_key_value_heads=2
    )
    config.time_step_limit = (0.0, float("inf"))
    config.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    assert '"__float__": "Infinity"' in text
    assert parse_config(text, "config.json")["time_step_limit"] == [0.0, float("inf")]
    assert read_facts(tmp_path).model_type == "bamba"


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff\xfe", '{"a": ' + "9" * 100_000])
def test_what_is_not_json_is_one_message(text: str) -> None:
    with pytest.raises(UserError, match=r"^tokenizer: here is not valid JSON"):
        parse_config(text, "here", "tokenizer")


@pytest.mark.parametrize("text", ["[]", "1", "null", '"a"'])
def test_what_is_no_object_is_one_message(text: str) -> None:
    with pytest.raises(UserError, match=r"^base_model: here is not a JSON object"):
        parse_config(text, "here")


LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 300,
    "max_position_embeddings": 512,
    "rope_theta": 10_000.0,
}


@pytest.mark.parametrize(
    "damage",
    [
        {"rope_theta": "large"},
        {"rope_parameters": 7},
        {"rope_parameters": {"rope_theta": [1]}},
        {"num_key_value_heads": "two"},
        {"head_dim": "wide"},
        {"num_attention_heads": 0},
        {"architectures": 5},
        {"model_type": ["llama"]},
        {"model_type": "olmo2", "hidden_act": 7},
        {"model_type": "olmo2", "rope_parameters": "default"},
    ],
    ids=json.dumps,
)
def test_values_of_another_kind_are_one_message(damage: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"^base_model: "):
        facts_from_config(LLAMA | damage)
