"""An implementation of attention that is not SDPA's stops a run before the first update."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from longspan.errors import UserError
from longspan.model.attention_checks import TOLERANCE, require_like_sdpa
from longspan.model.attention_functions import sdpa_by_document

CPU = torch.device("cpu")
SIZES = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
Attention = Callable[..., tuple[Tensor, None]]


class Changed(torch.autograd.Function):
    """Identity whose gradient is 0 for the last tokens."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        changed = gradients[0].clone()
        changed[:, :, -5:] = 0
        return changed


def leaking(*args: Any, cu_seq_lens_q: Tensor, **kwargs: Any) -> tuple[Tensor, None]:
    """Takes the first two documents for one."""
    return sdpa_by_document(*args, cu_seq_lens_q=cu_seq_lens_q[[0, *range(2, 6)]], **kwargs)


def too_far(*args: Any, sliding_window: int | None, **kwargs: Any) -> tuple[Tensor, None]:
    """Lets every token see one more."""
    wider = sliding_window and sliding_window + 1
    return sdpa_by_document(*args, sliding_window=wider, **kwargs)


def unscaled(*args: Any, scaling: float, **kwargs: Any) -> tuple[Tensor, None]:
    """Ignores the factor of the scores."""
    return sdpa_by_document(*args, **kwargs)


def wrong_backward(
    module: Any, query: Tensor, key: Tensor, *args: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    """Loses some of the keys' gradients."""
    return sdpa_by_document(module, query, Changed.apply(key), *args, **kwargs)


def not_a_number(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    """Returns one output that is no number."""
    output, _ = sdpa_by_document(*args, **kwargs)
    return torch.cat([output[:, :-1], output[:, -1:] * torch.nan], dim=1), None


def failing(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    """Fails, like a kernel without code for a GPU."""
    raise RuntimeError("no kernel image is available")


def check(function: Attention | str, dtype: torch.dtype, **changes: Any) -> dict[str, float]:
    config = AutoConfig.for_model("mistral", **{**SIZES, "sliding_window": 4096, **changes})
    if isinstance(function, str):
        return require_like_sdpa(function, config, CPU, dtype)
    ALL_ATTENTION_FUNCTIONS["wrong"] = function
    try:
        return require_like_sdpa("wrong", config, CPU, dtype)
    finally:
        del ALL_ATTENTION_FUNCTIONS["wrong"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kv_heads", [1, 4])
@pytest.mark.parametrize("window", [None, 4096])
def test_attention_by_document_passes(
    dtype: torch.dtype, kv_heads: int, window: int | None
) -> None:
    errors = check("sdpa_by_document", dtype, num_key_value_heads=kv_heads, sliding_window=window)
    assert len(errors) == 4
    assert max(errors.values()) < TOLERANCE[dtype] / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("function", "found"),
    [
        (leaking, "output by"),
        (too_far, "output by"),
        (unscaled, "output by"),
        (wrong_backward, r"\(key gradient by [0-9.e-]+ of"),
        (not_a_number, "output by nan"),
    ],
)
def test_a_wrong_implementation_is_found(
    function: Attention, found: str, dtype: torch.dtype
) -> None:
    with pytest.raises(UserError, match=f"training.attention: wrong differs from SDPA .*{found}"):
        check(function, dtype)


def test_an_implementation_that_fails_is_one_message() -> None:
    with pytest.raises(UserError, match=r"training.attention: wrong fails .*no kernel image"):
        check(failing, torch.float32)


def test_dropout_that_the_kernel_lacks_is_refused() -> None:
    with pytest.raises(UserError, match="torch_varlen has no dropout"):
        check("torch_varlen", torch.bfloat16, attention_dropout=0.1)


@pytest.mark.parametrize("name", ["sdpa", "eager"])
def test_the_references_are_not_compared(name: str) -> None:
    assert check(name, torch.float32) == {}
