"""Shared parts of `benchmarks/gpu.py`: the model's shape, packed rows, clocks, results."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from longspan.model.facts import ModelFacts

LONG_S = 15.0
"""Seconds after which timed calls are not repeated any more."""
SHARES = (0.5, 0.25, 0.125, 0.125)
"""Documents of a row, as shares of its tokens."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama; the vocabulary is small, so that the decoder layers dominate."""

    hidden: int = 4096
    intermediate: int = 14_336
    heads: int = 32
    kv_heads: int = 8
    layers: int = 2
    vocab: int = 4096

    def config(self) -> Any:
        """The config of transformers."""
        from transformers import LlamaConfig

        return LlamaConfig(
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            num_hidden_layers=self.layers,
            vocab_size=self.vocab,
            max_position_embeddings=2**20,
            rope_parameters={"rope_type": "default", "rope_theta": 5e8},
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        )

    def model(self, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """A random model with trainable weights."""
        from transformers import LlamaForCausalLM

        with torch.device(device):
            torch.manual_seed(0)
            return LlamaForCausalLM(self.config()).to(dtype).train()

    def facts(self) -> ModelFacts:
        """The sizes as the planner takes them."""
        head = self.hidden // self.heads
        attention = self.hidden * head * (2 * self.heads + 2 * self.kv_heads)
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        embeddings = 2 * self.vocab * self.hidden
        return ModelFacts(
            layers=self.layers,
            hidden=self.hidden,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=head,
            intermediate=self.intermediate,
            vocab=self.vocab,
            window=2**20,
            rope_base=5e8,
            tied=False,
            parameters=self.layers * layer + self.hidden + embeddings,
            model_type="llama",
        )

    def computed(self) -> ModelFacts:
        """Return the model's facts for FLOPs, without the input embedding, which is a lookup."""
        facts = self.facts()
        return replace(facts, parameters=facts.parameters - self.vocab * self.hidden)


TINY = Shape(hidden=64, intermediate=128, heads=4, kv_heads=2, vocab=128)


@dataclass(frozen=True)
class Place:
    """Device and data type of all computations."""

    device: torch.device
    dtype: torch.dtype
    repeats: int

    @property
    def precision(self) -> str:
        """Name of the data type in recipes."""
        return "bf16" if self.dtype == torch.bfloat16 else "fp32"

    @property
    def memory(self) -> int:
        """Bytes of the device; without limit for a CPU."""
        if self.device.type != "cuda":
            return 2**60
        return torch.cuda.get_device_properties(self.device).total_memory

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], Any]) -> float:
        """Median time of ``work``, after one call that is not timed; fewer calls of what takes long."""
        work()
        times: list[float] = []
        while len(times) < self.repeats and sum(times) < LONG_S:
            self.synchronize()
            began = time.perf_counter()
            work()
            self.synchronize()
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    def allocated(self) -> int:
        """Bytes of live tensors on the device; 0 on a CPU."""
        return torch.cuda.memory_allocated(self.device) if self.device.type == "cuda" else 0

    def reset_peak(self) -> None:
        """Forget the peak."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int | None:
        """Most bytes of live tensors since `reset_peak`; None on a CPU."""
        if self.device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.device)

    def empty(self) -> None:
        """Give cached memory back."""
        import gc

        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


@dataclass
class Section:
    """One table.

    Attributes:
        title: above it.
        columns: keys of the rows, in order, and their headings.
        rows: numbers, texts or None, by key.
        missing: what could not be measured, and why.
        note: below it.
    """

    title: str
    columns: dict[str, str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""


def documents_of(length: int) -> list[int]:
    """Tokens of the documents of a row of ``length``."""
    parts = [int(length * share) for share in SHARES]
    return [*parts[:-1], length - sum(parts[:-1])]


def squares_of(documents: Sequence[int]) -> int:
    """Sum of the squared lengths."""
    return sum(length**2 for length in documents)


def packed_positions(length: int, device: torch.device) -> Tensor:
    """Positions [1, length], restarting with each document."""
    parts = [torch.arange(tokens, device=device) for tokens in documents_of(length)]
    return torch.cat(parts)[None]


def one_line(error: BaseException) -> str:
    """The kind of an error and the beginning of what it says."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"
