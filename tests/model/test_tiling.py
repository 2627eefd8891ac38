"""A tiled MLP gives the losses and gradients of a whole one, or is refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from longspan.errors import UserError
from longspan.model.loss import CausalLMLoss
from longspan.model.probe import _why_untiled, probe
from longspan.model.support import default_config
from longspan.model.tiling import tile_mlps, why_not_tiled
from tests.model.test_loss import ROWS, batch, gradients

LENGTH = 48
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 512,
}


def loss_and_gradients(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    loss = CausalLMLoss(model.train(), 32)(*batch())
    return loss.detach(), gradients(model, loss)


def errors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Relative L2 error of each gradient."""
    assert found.keys() == expected.keys()
    return {
        name: float((found[name].double() - value.double()).norm() / value.double().norm())
        for name, value in expected.items()
    }


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("tile_tokens", [1, 7, 48, ROWS * LENGTH])
def test_losses_and_gradients_are_those_of_the_whole_mlp(
    tiny: Path, tile_tokens: int, checkpointed: bool
) -> None:
    model = LlamaForCausalLM.from_pretrained(tiny)
    loss, expected = loss_and_gradients(model)
    tile_mlps(model, tile_tokens)
    if checkpointed:
        model.activation_checkpointing_enable({"use_reentrant": False})
    tiled, found = loss_and_gradients(model)
    torch.testing.assert_close(tiled, loss, rtol=1e-6, atol=0)
    assert max(errors(found, expected).values()) < 2e-6
    model.eval()
    tokens, positions, labels = batch()
    losses = CausalLMLoss(model, 32).token_losses(tokens, positions, labels)
    torch.testing.assert_close(losses.sum(), loss, rtol=1e-6, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_no_more_than_a_tile_exists_at_a_time(tiny: Path, training: bool) -> None:
    model = LlamaForCausalLM.from_pretrained(tiny)
    tile_mlps(model, 20)
    shapes: list[torch.Size] = []
    mlp = model.model.layers[0].mlp
    mlp.gate_proj.register_forward_hook(lambda _, __, out: shapes.append(out.shape))
    with torch.set_grad_enabled(training):
        CausalLMLoss(model.train(training), 32)(*batch())
    assert [shape[:-1].numel() for shape in shapes] == [20, 19, 19, 19, 19]


def low_precision_errors(tiny: Path, tile_tokens: int | None, naive: bool = False) -> float:
    """Largest relative error of an MLP's weight gradient in bfloat16 against float64, for random inputs."""
    model = LlamaForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    mlp = model.model.layers[0].mlp
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1, 4096, 64, generator=generator).bfloat16()
    direction = torch.randn(1, 4096, 64, generator=generator).bfloat16()
    exact = LlamaForCausalLM.from_pretrained(tiny, dtype=torch.float64).model.layers[0].mlp
    exact.load_state_dict(mlp.state_dict())
    expected = gradients(exact, (exact(inputs.double()) * direction.double()).sum())
    if naive:
        output = torch.cat([mlp(tile) for tile in inputs.split(tile_tokens or 1, dim=1)], dim=1)
    else:
        if tile_tokens:
            tile_mlps(model, tile_tokens)
        output = mlp(inputs)
    return max(errors(gradients(mlp, (output * direction).sum()), expected).values())


def test_weight_gradients_of_tiles_are_added_in_float32_and_rounded_once(tiny: Path) -> None:
    whole = low_precision_errors(tiny, None)
    tiled = low_precision_errors(tiny, 32)
    in_bf16 = low_precision_errors(tiny, 32, naive=True)
    assert tiled < 1.05 * whole
    assert in_bf16 > 2 * whole


def test_biases_are_summed_too() -> None:
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, rotary_pct=1.0)).bfloat16()
    loss, expected = loss_and_gradients(model)
    tile_mlps(model, 10)
    tiled, found = loss_and_gradients(model)
    torch.testing.assert_close(tiled, loss, rtol=1e-2, atol=0)
    biases = [error for name, error in errors(found, expected).items() if ".mlp." in name]
    assert len(biases) == 8
    assert max(biases) < 0.02


def test_linear_layers_are_restored_when_a_tile_fails(tiny: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    tile_mlps(model, 10)
    mlp = model.model.layers[0].mlp
    with pytest.raises(RuntimeError):
        mlp(torch.zeros(1, 40, 63, dtype=torch.bfloat16, requires_grad=True))
    assert "forward" not in vars(mlp.gate_proj)


def test_a_mixture_of_experts_is_refused_by_name() -> None:
    config = MixtralConfig(**SIZES, num_local_experts=2, num_key_value_heads=4)
    model = MixtralForCausalLM(config)
    with pytest.raises(UserError, match=r"^training\.tiled_mlp: Mixtral\w+ has weights in Mixtral"):
        tile_mlps(model, 10)


def test_dropout_is_refused(tiny: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(tiny)
    model.model.layers[1].mlp.act_fn = nn.Dropout(0.1)
    with pytest.raises(UserError, match="LlamaMLP has dropout"):
        tile_mlps(model, 10)


def test_a_model_without_layers_or_mlps_cannot_be_tiled(tiny: Path) -> None:
    assert "has no decoder layers" in str(why_not_tiled(nn.Linear(2, 2)))
    model = LlamaForCausalLM.from_pretrained(tiny)
    del model.model.layers[1].mlp
    assert why_not_tiled(model) == "LlamaDecoderLayer has no MLP by the name of mlp or feed_forward"


class _Shifted(nn.Module):
    """An MLP that mixes neighboring tokens, as RWKV's does."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.down_proj = nn.Linear(hidden, hidden)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down_proj(hidden.roll(1, dims=-2))


def test_an_mlp_that_mixes_tokens_is_found_by_running_it(tiny: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(tiny).eval()
    assert why_not_tiled(model) is None
    for layer in model.model.layers:
        layer.mlp = _Shifted(64)
    assert why_not_tiled(model) is None
    with torch.no_grad():
        assert str(_why_untiled(model)).startswith("the MLPs or norms of LlamaForCausalLM mix")


@pytest.mark.parametrize(
    ("name", "problem"),
    [("gpt_neox", None), ("phi3", None), ("gemma", None), ("olmo2", None), ("llama", None)],
)
def test_whether_the_mlps_of_an_architecture_can_be_tiled(name: str, problem: str | None) -> None:
    assert probe(default_config(name)).untiled_mlp == problem
