"""Attention implementations against SDPA, and kernels against eager modules: errors and times."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.gpu_shapes import (
    Place,
    Section,
    Shape,
    documents_of,
    one_line,
    packed_positions,
    squares_of,
)
from longspan.errors import UserError
from longspan.model import attention_checks, kernel_checks
from longspan.model.attention import FLASH, SDPA_BY_DOCUMENT, TORCH_VARLEN, Conditions, choose
from longspan.model.attention_checks import Heads, LayerAttributes, document_mask
from longspan.model.attention_functions import register
from longspan.model.kernel_functions import Kernels, eager_rotation, liger_kernels, parts_of
from longspan.model.kernels import KernelConditions, choose_kernels
from longspan.parallel.documents import document_boundaries
from longspan.plan.flops import packed_flops

COMPARED = (*FLASH, TORCH_VARLEN, SDPA_BY_DOCUMENT)
SDPA = "sdpa"
Call = Callable[[], Tensor]


def compare_attention(shape: Shape, place: Place, length: int) -> Section:
    """Error of each implementation on a few hundred tokens, and its time on a packed row."""
    section = Section(
        f"Attention: one layer, a packed row of {length:,} tokens",
        {
            "name": "implementation",
            "output": "error of output",
            "gradients": "of gradients",
            "forward": "forward, ms",
            "both": "forward and backward, ms",
            "tflops": "TFLOP/s",
        },
        note="Errors against SDPA in float32, as before each run; TFLOP/s of the causal half within documents.",
    )
    allow_fewer_key_heads()
    config = shape.config()
    for name in (*COMPARED, SDPA):
        try:
            choose(name, _conditions(place, length))
            errors = _errors(name, config, place)
            times = _times(name, config, place, length)
        except Exception as error:  # Kernels fail in ways of their own.
            section.missing.append((name, _reason(error)))
            continue
        flops = packed_flops(
            replace(shape.facts(), parameters=0, layers=1),
            length,
            squares_of(documents_of(length)),
        )
        section.rows.append(
            {
                "name": "sdpa (mask)" if name == SDPA else name,
                **errors,
                "forward": 1e3 * times[0],
                "both": 1e3 * times[1],
                "tflops": flops / times[1] / 1e12,
            }
        )
        place.empty()
    return section


def fastest_attention(section: Section) -> str:
    """The implementation without a mask that took the least time."""
    rows = [row for row in section.rows if row["name"] in COMPARED]
    return min(rows, key=lambda row: row["both"])["name"] if rows else SDPA_BY_DOCUMENT


def compare_kernels(shape: Shape, place: Place, tokens: int) -> Section:
    """Error of each kernel on a few hundred tokens, and its time on more, against eager modules."""
    section = Section(
        f"Kernels: {tokens:,} tokens, forward and backward",
        {"name": "part", "error": "largest error", "eager": "eager, ms", "kernel": "kernel, ms"},
        note="Errors against eager modules in float32, as before each run; SwiGLU without its matrix products.",
    )
    model = shape.model(torch.device("meta"), place.dtype)
    kernels, errors = _kernels(model, place, section)
    eager = _eager(model)
    for name, make in _inputs(shape, place, tokens).items():
        row: dict[str, Any] = {"name": name, "error": errors.get(name), "kernel": None}
        row["eager"] = 1e3 * place.seconds(_pass_of(getattr(eager, name), make))
        if kernels:
            row["kernel"] = 1e3 * place.seconds(_pass_of(getattr(kernels, name), make))
        section.rows.append(row)
        place.empty()
    return section


def usable_kernels(section: Section) -> Kernels | None:
    """The kernels, if they could be compared and were right."""
    right = all(row["kernel"] is not None and row["error"] is not None for row in section.rows)
    return liger_kernels() if right and not section.missing else None


def allow_fewer_key_heads() -> None:
    """Let torch's variable-length attention be called as from torch 2.13 on, whatever torch it is.

    The kernel of earlier versions takes fewer key-value heads without being told by ``enable_gqa``.
    """
    try:
        from torch.nn.attention import varlen
    except ImportError:
        return
    attend = varlen.varlen_attn
    if "enable_gqa" not in inspect.signature(attend).parameters:
        varlen.varlen_attn = lambda *args, enable_gqa=True, **kwargs: attend(*args, **kwargs)


def _conditions(place: Place, length: int) -> Conditions:
    if place.device.type != "cuda":
        return Conditions("cpu", place.precision, length)
    return Conditions(
        "cuda", place.precision, length, torch.cuda.get_device_capability(place.device)
    )


def _errors(name: str, config: Any, place: Place) -> dict[str, float | None]:
    if name == SDPA:  # What the others are compared with.
        return {"output": None, "gradients": None}
    found = attention_checks.errors_of(name, config, place.device, place.dtype)
    wrong = {key: error for key, error in found.items() if not error <= _bound(place)}
    if wrong:
        raise UserError(f"differs from SDPA: {wrong}; at most {_bound(place):g}")
    gradients = [error for key, error in found.items() if key != "output"]
    return {"output": found["output"], "gradients": max(gradients)}


def _bound(place: Place) -> float:
    return attention_checks.TOLERANCE[place.dtype]


def _times(name: str, config: Any, place: Place, length: int) -> tuple[float, float]:
    """Seconds of forward, and of forward and backward."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    register(name)
    heads = Heads.of_config(config)
    layer = LayerAttributes(config, name, heads)
    positions = packed_positions(length, place.device)
    mask = document_mask(positions, None) if name == SDPA else None
    told = {} if name == SDPA else document_boundaries(positions)
    counts = (heads.queries, heads.keys, heads.keys)
    leaves = [
        torch.randn(1, count, length, heads.size, device=place.device, dtype=place.dtype)
        for count in counts
    ]
    function: Any = ALL_ATTENTION_FUNCTIONS[name]

    def forward() -> Tensor:
        options = {"scaling": heads.size**-0.5, "position_ids": positions}
        return function(layer, *leaves, mask, **options, **told)[0]

    def both() -> None:
        output = forward()
        torch.autograd.grad(output, leaves, torch.ones_like(output))

    with torch.no_grad():
        alone = place.seconds(forward)
    for leaf in leaves:
        leaf.requires_grad_()
    return alone, place.seconds(both)


def _kernels(
    model: nn.Module, place: Place, section: Section
) -> tuple[Kernels | None, dict[str, float]]:
    """Liger's kernels and their largest errors by part; what is missing goes into the section."""
    try:
        conditions = KernelConditions("llama", "silu", place.device.type)
        choose_kernels("liger", conditions)
        kernels = liger_kernels()
        found = kernel_checks.require_like_eager(kernels, model, place.device, place.dtype)
    except Exception as error:  # Kernels fail in ways of their own.
        section.missing.append(("liger", _reason(error)))
        return None, {}
    parts = {"RoPE": "rotate", "LlamaMLP": "swiglu"}
    errors: dict[str, float] = {}
    for key, error in found.items():
        part = parts.get(key.split(":")[0], "rms_norm")
        errors[part] = max(error, errors.get(part, 0.0))
    return kernels, errors


def _eager(model: nn.Module) -> Kernels:
    """The model's own computations in the form of kernels."""
    parts = parts_of(model)
    forward: Any = type(parts.norms[0]).forward

    def rms_norm(hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        return forward(SimpleNamespace(weight=weight, variance_epsilon=epsilon), hidden)

    def swiglu(gate: Tensor, up: Tensor) -> Tensor:
        return functional.silu(gate) * up

    return Kernels("eager", eager_rotation(parts.attentions[0]), rms_norm, swiglu)


def _inputs(shape: Shape, place: Place, tokens: int) -> dict[str, Callable[[], tuple[Any, ...]]]:
    """Arguments of each part: new tensors at each call, because kernels overwrite them."""
    head = shape.hidden // shape.heads

    def random(*size: int) -> Tensor:
        return torch.randn(size, device=place.device, dtype=place.dtype)

    tables = (random(1, tokens, head), random(1, tokens, head))
    heads = [random(1, tokens, count, head) for count in (shape.heads, shape.kv_heads)]
    hidden, weight = random(1, tokens, shape.hidden), random(shape.hidden).requires_grad_()
    inner = [random(1, tokens, shape.intermediate) for _ in range(2)]

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.clone().requires_grad_()

    return {
        "rotate": lambda: (*((leaf(each) * 1).transpose(1, 2) for each in heads), *tables),
        "rms_norm": lambda: (leaf(hidden), weight, 1e-5),
        "swiglu": lambda: tuple(leaf(each) * 1 for each in inner),
    }


def _pass_of(
    function: Callable[..., Any], make: Callable[[], tuple[Any, ...]]
) -> Callable[[], None]:
    """Forward and backward of a part; the copies of its inputs are the same on both sides."""

    def run() -> None:
        given = make()
        results = function(*given)
        outputs = results if isinstance(results, tuple) else (results,)
        inputs = [each for each in given if isinstance(each, Tensor) and each.requires_grad]
        torch.autograd.grad(outputs, inputs, [torch.ones_like(output) for output in outputs])

    return run


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, UserError) else one_line(error)
