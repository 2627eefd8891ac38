import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.autograd.graph import save_on_cpu
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    Ministral3Config,
    PretrainedConfig,
    modeling_utils,
)

from longspan.errors import UserError
from longspan.model.load import load_model, load_tokenizer, offload_activations, set_positions
from longspan.model.loss import CausalLMLoss
from longspan.model.positions import Positions, frequencies, own_positions, rope_parameters, verify
from tests.model.test_loss import batch, gradients

NONE = Positions("none", 10_000.0, 1.0, 256)
ABF = Positions("abf", 500_000.0, 4.0, 256)
PI = Positions("pi", 10_000.0, 4.0, 256)
YARN = Positions("yarn", 10_000.0, 4.0, 256)
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 2.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0] * 16,
    "long_factor": [1.0 + pair / 4 for pair in range(16)],
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}


def load(path: Path, positions: Positions, window: int = 1024, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "dtype": torch.float32,
        "attention": "sdpa",
        "activation_checkpointing": False,
    }
    return load_model(path, positions, window, **(arguments | changes))


def edited(path: Path, into: Path, **changes: Any) -> Path:
    """A copy of a model folder with keys of its config.json set."""
    shutil.copytree(path, into)
    config = json.loads((into / "config.json").read_text())
    (into / "config.json").write_text(json.dumps(config | changes))
    return into


@pytest.mark.parametrize("positions", [NONE, ABF, PI, YARN], ids=lambda p: p.encoding)
def test_the_built_model_has_the_positions_and_the_window(tiny: Path, positions: Positions) -> None:
    model = load(tiny, positions)
    inv_freq = model.model.rotary_emb.inv_freq.numpy()
    np.testing.assert_allclose(inv_freq, frequencies(positions, 32), rtol=1e-5)
    assert model.config.rope_parameters == rope_parameters(positions)
    assert model.config.max_position_embeddings == 1024
    before = LlamaForCausalLM.from_pretrained(tiny)
    for (name, old), new in zip(before.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(old, new), name


def test_xpos_is_refused(tiny: Path) -> None:
    with pytest.raises(UserError, match="xpos_abf"):
        load(tiny, Positions("xpos_abf", 500_000.0, 4.0, 256))


def test_bfloat16_parameters_leave_the_frequencies_in_float32(tiny: Path) -> None:
    model = load(tiny, ABF, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    verify(model, ABF)


@pytest.mark.parametrize("scaling", [LLAMA3, LONGROPE], ids=lambda scaling: scaling["rope_type"])
def test_abf_replaces_the_models_own_scaling(scaling: Any, tiny: Path, tmp_path: Path) -> None:
    scaled = edited(tiny, tmp_path / "scaled", rope_parameters=scaling)
    model = load(scaled, ABF)
    assert model.config.rope_parameters == {"rope_type": "default", "rope_theta": 500_000.0}


def test_none_is_refused_where_the_models_own_positions_cannot_be_verified(
    tiny: Path, tmp_path: Path
) -> None:
    scaled = edited(tiny, tmp_path / "scaled", rope_parameters=LONGROPE)
    with pytest.raises(
        UserError, match=r"type longrope cannot be verified .*set positions\.encoding=abf"
    ):
        load(scaled, NONE)


@pytest.mark.parametrize("encoding", ["pi", "yarn"])
def test_pi_and_yarn_on_a_scaled_model_are_refused(
    encoding: Any, tiny: Path, tmp_path: Path
) -> None:
    scaled = edited(tiny, tmp_path / "scaled", rope_parameters=LLAMA3)
    with pytest.raises(UserError, match=r"scaled already \(llama3\)"):
        load(scaled, Positions(encoding, 10_000.0, 4.0, 256))


@pytest.mark.parametrize(
    "scaling",
    [
        LLAMA3,
        {
            "rope_type": "yarn",
            "rope_theta": 10_000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ],
    ids=lambda scaling: scaling["rope_type"],
)
def test_none_keeps_the_models_own_scaling(scaling: Any, tiny: Path, tmp_path: Path) -> None:
    scaled = edited(tiny, tmp_path / "scaled", rope_parameters=scaling)
    # Given or not, the scaling that "none" stands for is the model's.
    for positions in (own_positions(scaling, 256), NONE):
        model = load(scaled, positions, window=256)
        assert model.config.rope_parameters == scaling
        verify(model, own_positions(scaling, 256))


def test_settings_of_one_model_and_the_window_they_refer_to_stay() -> None:
    config = Ministral3Config(max_position_embeddings=256)
    original = config.rope_parameters["original_max_position_embeddings"]
    set_positions(config, ABF, 1024)
    assert config.rope_parameters == {
        **rope_parameters(ABF),
        "llama_4_scaling_beta": 0.1,
        "original_max_position_embeddings": original,
    }


def test_a_partly_rotated_head_stays_so() -> None:
    config = PretrainedConfig.from_dict({"max_position_embeddings": 256})
    config.rope_parameters = {**rope_parameters(NONE), "partial_rotary_factor": 0.5}
    set_positions(config, ABF, 1024)
    assert config.rope_parameters == {**rope_parameters(ABF), "partial_rotary_factor": 0.5}


def test_a_model_without_rotary_positions_is_refused(tmp_path: Path) -> None:
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=16, n_layer=1, n_head=1))
    gpt2.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="gpt2 model has no rotary positions"):
        load(tmp_path, ABF)


def test_positions_that_differ_by_layer_are_refused() -> None:
    config = PretrainedConfig.from_dict({"max_position_embeddings": 256})
    config.rope_parameters = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    with pytest.raises(UserError, match=r"by layer \(full_attention, sliding_attention\)"):
        set_positions(config, ABF, 1024)


def test_missing_weights_are_refused_and_not_made_up(tiny: Path, tmp_path: Path) -> None:
    deeper = edited(tiny, tmp_path / "deeper", num_hidden_layers=3)
    with pytest.raises(UserError, match=r"lacks 9 of the model's tensors .*layers\.2\."):
        load(deeper, ABF)


def test_an_attention_the_machine_lacks_is_one_message(tiny: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        load(tiny, ABF, attention="flash_attention_2")


def test_a_folder_without_a_tokenizer_is_one_message(tiny: Path, tmp_path: Path) -> None:
    shutil.copy(tiny / "config.json", tmp_path)
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)


def test_exactly_the_inputs_of_layers_are_offloaded(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the hooks that transformers uses on a GPU, without pinned memory, which a CPU does not have."""
    packed: list[int] = []

    class Unpinned(save_on_cpu):
        def __init__(self, pin_memory: bool, device_type: str) -> None:
            assert pin_memory
            super().__init__(pin_memory=False, device_type=device_type)
            pack = self.pack_hook

            def copied(tensor: torch.Tensor) -> Any:
                packed.append(tensor.data_ptr())
                return pack(tensor.clone())

            self.pack_hook = copied

    monkeypatch.setattr(modeling_utils, "save_on_cpu", Unpinned)
    model = load(tiny, NONE, 256, activation_checkpointing=True).train()
    expected = gradients(model, CausalLMLoss(model, 16)(*batch()))
    assert not packed
    model = load(tiny, NONE, 256).train()
    offload_activations(model)
    inputs: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    found = gradients(model, CausalLMLoss(model, 16)(*batch()))
    assert packed == [each.data_ptr() for each in inputs]
    assert len(packed) == 2
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name
