"""Fused kernels: which are chosen, that they take the place of a model's own modules, and that wrong ones are found."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from longspan.errors import UserError
from longspan.model import kernels as kernels_module
from longspan.model.kernel_checks import TOLERANCE, require_like_eager
from longspan.model.kernel_functions import Kernels, install, load_kernels
from longspan.model.kernels import FAMILIES, KernelConditions, choose_kernels, plan_kernels
from longspan.model.loss import CausalLMLoss
from longspan.model.tiling import tile_mlps
from tests.fused import OVERWRITING, Rotation, SwiGlu, rms_norm

CPU = torch.device("cpu")
GPU = KernelConditions("llama", "silu", "cuda")
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_hidden_layers": 2,
    "vocab_size": 64,
    "max_position_embeddings": 128,
}


def model_of(model_type: str = "llama", **changes: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = AutoConfig.for_model(model_type, **{**SIZES, **changes})
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


@pytest.mark.parametrize(
    ("requested", "changes", "installed", "name", "reason"),
    [
        ("auto", {}, True, "liger", "available"),
        ("liger", {}, True, "liger", "set in the recipe"),
        ("none", {}, True, "none", "set in the recipe"),
        ("auto", {}, False, "none", "needs the package liger-kernel; install it"),
        ("auto", {"device_type": "cpu"}, True, "none", "needs a GPU, and this is cpu"),
        ("auto", {"model_type": "gemma"}, True, "none", "in models of type llama, .* not gemma"),
        ("auto", {"activation": "gelu"}, True, "none", "computes SiLU, .* have gelu"),
    ],
)
def test_kernels_are_chosen_by_what_is_available(
    monkeypatch: pytest.MonkeyPatch,
    requested: str,
    changes: dict[str, str],
    installed: bool,
    name: str,
    reason: str,
) -> None:
    monkeypatch.setattr(kernels_module, "_is_installed", lambda: installed)
    conditions = replace(GPU, **changes)
    choice = choose_kernels(requested, conditions)
    assert choice.name == name
    assert re.search(reason, choice.reason)
    if name == "none" and requested == "auto":
        with pytest.raises(
            UserError, match=f"training.kernels: liger is not available: .*{reason}"
        ):
            choose_kernels("liger", conditions)


def test_the_plan_of_a_model_without_kernels_says_why() -> None:
    assert plan_kernels("auto", "gemma").name == "none"
    assert "not gemma" in plan_kernels("auto", "gemma").reason
    with pytest.raises(UserError, match=r"training.kernels: .* not gemma; set training.kernels="):
        plan_kernels("liger", "gemma")


def test_no_kernels_are_loaded_for_none() -> None:
    assert load_kernels("none") is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_right_kernels_pass_and_overwriting_their_inputs_harms_nothing(
    model_type: str, dtype: torch.dtype
) -> None:
    model = model_of(model_type)
    errors = require_like_eager(OVERWRITING, model, CPU, dtype)
    assert max(errors.values()) < TOLERANCE[dtype] / 2
    norms = {name.split(":")[0] for name in errors if "RMSNorm" in name}
    assert len(norms) == (2 if model_type == "qwen3" else 1)  # Those over heads as well.


class HalfGradient(torch.autograd.Function):
    """Identity with half the gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] / 2


def failing(*args: Any) -> Any:
    raise RuntimeError("no kernel image is available")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "turned the other way": (
        {"rotate": lambda q, k, cosines, sines: Rotation.apply(q, k, cosines, -sines)},
        r"RoPE: queries by [0-9.]+, RoPE: keys by",
    ),
    "keys not turned": (
        {"rotate": lambda q, k, *tables: (Rotation.apply(q, k.clone(), *tables)[0], k)},
        r"\(RoPE: keys by [0-9.]+, RoPE: gradient of keys by",
    ),
    "no epsilon": (
        {"rms_norm": lambda hidden, weight, epsilon: rms_norm(hidden, weight, 0.0)},
        "RMSNorm of 64: output by",
    ),
    "weight from 1": (
        {"rms_norm": lambda hidden, weight, epsilon: rms_norm(hidden, 1 + weight, epsilon)},
        "RMSNorm of 64: output by",
    ),
    "norm's backward": (
        {"rms_norm": lambda hidden, *rest: rms_norm(HalfGradient.apply(hidden), *rest)},
        r"\(LlamaRMSNorm of 64: gradient of input by 0.5 of",
    ),
    "weight's backward": (
        {"rms_norm": lambda x, weight, e: rms_norm(x, HalfGradient.apply(weight), e)},
        r"\(LlamaRMSNorm of 64: gradient of weight by 0.5 of",
    ),
    "gate and up exchanged": (
        {"swiglu": lambda gate, up: SwiGlu.apply(up, gate)},
        "LlamaMLP: output by",
    ),
    "up's backward": (
        {"swiglu": lambda gate, up: SwiGlu.apply(gate, HalfGradient.apply(up))},
        r"LlamaMLP: gradient of up_proj.weight by 0.5",
    ),
    "not a number": (
        {"swiglu": lambda gate, up: SwiGlu.apply(gate, up) * torch.nan},
        "LlamaMLP: output by nan",
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_kernel_is_found(wrong: str, dtype: torch.dtype) -> None:
    changes, found = WRONG[wrong]
    kernels = replace(OVERWRITING, **changes)
    with pytest.raises(UserError, match=f"training.kernels: overwriting differs .*{found}"):
        require_like_eager(kernels, model_of(), CPU, dtype)


def test_a_kernel_that_fails_is_one_message() -> None:
    kernels = replace(OVERWRITING, swiglu=failing)
    with pytest.raises(UserError, match=r"training.kernels: overwriting fails .*no kernel image"):
        require_like_eager(kernels, model_of(), CPU, torch.float32)


def test_layers_that_are_built_differently_are_refused() -> None:
    with pytest.raises(UserError, match=r"training.kernels: GPTNeoXForCausalLM has 0 gated MLPs"):
        install(model_of("gpt_neox"), OVERWRITING)


def loss_and_gradients(model: nn.Module, dtype: torch.dtype) -> list[Tensor]:
    """Summed loss of a row of two documents, and the gradients of all weights."""
    tokens = (torch.arange(96) * 7919 % SIZES["vocab_size"])[None]
    positions = torch.cat([torch.arange(40), torch.arange(56)])[None]
    loss = CausalLMLoss(model.to(dtype).train(), 24)(tokens, positions, tokens.roll(-1, 1))
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None for gradient in gradients)
    return [loss.detach(), *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("saver", ["none", "checkpointed", "tiled"])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_model_with_right_kernels_computes_what_it_did(model_type: str, saver: str) -> None:
    model, own = model_of(model_type), model_of(model_type)
    calls: dict[str, int] = {}

    def counted(name: str) -> Any:
        def kernel(*args: Any) -> Any:
            calls[name] = calls.get(name, 0) + 1
            return getattr(OVERWRITING, name)(*args)

        return kernel

    install(model, Kernels("counted", *map(counted, ("rotate", "rms_norm", "swiglu"))))
    for each in (model, own):
        if saver == "checkpointed":
            each.activation_checkpointing_enable({"use_reentrant": False})  # pyrefly: ignore
        if saver == "tiled":
            tile_mlps(each, 40)
    found, expected = (loss_and_gradients(each, torch.float32) for each in (model, own))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))
    norms = 2 * 4 + 1 if model_type == "qwen3" else 2 * 2 + 1
    if saver == "none":
        assert calls == {"rotate": 2, "rms_norm": norms, "swiglu": 2}
    # Another model of the class is left as it is.
    calls.clear()
    loss_and_gradients(own, torch.float32)
    assert not calls


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_liger_kernels_are_right_in_triton_s_interpreter() -> None:
    """In fp32 only: the interpreter has no bf16 arithmetic."""
    pytest.importorskip(
        "liger_kernel", reason="liger-kernel is installed on machines with a GPU only"
    )
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-m", "tests.model.liger_worker"],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
