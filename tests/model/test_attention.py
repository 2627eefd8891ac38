"""Documents packed into one row see nothing of each other, whatever the attention."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from longspan.errors import UserError
from longspan.model import attention as implementations
from longspan.model.attention import Conditions, choose
from longspan.model.load import load_model
from longspan.model.loss import CausalLMLoss
from longspan.model.positions import Positions

ABF = Positions("abf", 500_000.0, 2.0, 256)
TOLERANCE = 1e-4
LENGTHS = (17, 1, 46)
VOCAB = 512


def load(path: Path, attention: str) -> PreTrainedModel:
    return load_model(path, ABF, 512, torch.float32, attention, False).eval()


def documents(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCAB, (length,), generator=generator) for length in LENGTHS]


def packed(pieces: list[Tensor]) -> tuple[Tensor, Tensor]:
    """One row [1, S] and its positions, which restart at 0 with every document."""
    positions = torch.cat([torch.arange(len(piece)) for piece in pieces])
    return torch.cat(pieces)[None], positions[None]


def alone(model: Any, pieces: list[Tensor]) -> Tensor:
    """Logits [S, V] of each document in a row of its own."""
    return torch.cat([model(piece[None]).logits[0] for piece in pieces])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("count", [2, 3])
@torch.no_grad()
def test_packed_documents_have_the_logits_they_have_alone(
    tiny: Path, attention: str, count: int
) -> None:
    model, pieces = load(tiny, attention), documents()[-count:]
    tokens, positions = packed(pieces)
    logits = model(tokens, position_ids=positions, use_cache=False).logits[0]
    torch.testing.assert_close(logits, alone(model, pieces), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_what_turns_the_document_mask_off(tiny: Path, attention: str) -> None:
    model, pieces = load(tiny, attention), documents()
    tokens, restarting = packed(pieces)
    separate = alone(model, pieces)
    ones = torch.ones_like(tokens)
    ways = (
        {"position_ids": torch.arange(tokens.shape[1])[None], "use_cache": False},
        {"position_ids": restarting, "use_cache": False, "attention_mask": ones},
        {"position_ids": restarting, "use_cache": True},
    )
    for way in ways:
        logits = model(tokens, **way).logits[0]
        first = len(pieces[0])
        torch.testing.assert_close(logits[:first], separate[:first], atol=TOLERANCE, rtol=0)
        assert (logits[first:] - separate[first:]).abs().max() > 100 * TOLERANCE


@pytest.mark.parametrize("attention", ["sdpa", "eager", "sdpa_by_document", "varlen_by_hand"])
def test_the_loss_of_a_packed_batch_is_that_of_its_documents(
    tiny: Path, attention: str, varlen_by_hand: list[int]
) -> None:
    model = CausalLMLoss(load(tiny, attention), 16)
    rows = [documents(seed) for seed in (0, 1)]
    tokens, positions = (torch.cat(part) for part in zip(*map(packed, rows), strict=True))
    labels = tokens.roll(-1, dims=1)
    labels[:, torch.tensor(LENGTHS).cumsum(0) - 1] = -100
    losses = model.token_losses(tokens, positions, labels)
    edges = torch.tensor([0, *LENGTHS]).cumsum(0)
    for row, pieces in enumerate(rows):
        for piece, first, last in zip(pieces, edges, edges[1:], strict=False):
            own = torch.cat([piece[1:], torch.tensor([-100])])[None]
            expected = model.token_losses(piece[None], torch.arange(len(piece))[None], own)
            torch.testing.assert_close(losses[row, first:last], expected[0], atol=TOLERANCE, rtol=0)
    if attention == "varlen_by_hand":
        assert max(varlen_by_hand) == max(LENGTHS), "the longest sequence is a document, not a row"


@pytest.mark.parametrize("positions_restart", [True, False])
def test_flash_attention_is_told_where_rows_and_documents_begin(
    tiny: Path, varlen_by_hand: list[int], positions_restart: bool
) -> None:
    """Two rows: FlashAttention left to itself would find the documents of a single row only."""
    by_mask = CausalLMLoss(load(tiny, "sdpa"), 16)
    by_boundaries = CausalLMLoss(load(tiny, "varlen_by_hand"), 16)
    tokens, positions = (p.repeat(2, 1) for p in packed(documents()))
    if not positions_restart:
        positions = torch.arange(tokens.shape[1]).repeat(2, 1)
    labels = tokens.roll(-1, dims=1)
    for wrapped in (by_mask, by_boundaries):
        wrapped.train()(tokens, positions, labels).backward()
    expected = dict(by_mask.named_parameters())
    for name, parameter in by_boundaries.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, msg=name)


CPU = Conditions("cpu", "fp32", 4096)
GPU = Conditions("cuda", "bf16", 65_536, (9, 0))


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(implementations, "_is_installed", lambda name: name in names)


def test_the_choice_without_a_gpu_is_sdpa_and_says_why() -> None:
    choice = choose("auto", CPU)
    assert choice.implementation == "sdpa"
    assert "CUDA" in choice.reason
    assert choose("eager", CPU).implementation == "eager"


def test_long_rows_without_a_gpu_are_computed_by_document() -> None:
    choice = choose("auto", replace(CPU, longest_row=131_072))
    assert choice.implementation == "sdpa_by_document"
    assert "131,072 tokens would take 16,384 MiB" in choice.reason


@pytest.mark.parametrize(
    ("packages", "changes", "implementation"),
    [
        (["flash_attention_3", "flash_attention_2"], {}, "flash_attention_3"),
        (["flash_attention_3", "flash_attention_2"], {"capability": (8, 0)}, "flash_attention_2"),
        (["flash_attention_3"], {"capability": (10, 0)}, "torch_varlen"),
        (["flash_attention_2"], {}, "flash_attention_2"),
        ([], {}, "torch_varlen"),
        (["flash_attention_2"], {"precision": "fp32"}, "sdpa_by_document"),
        ([], {"capability": (7, 5)}, "sdpa_by_document"),
        ([], {"capability": (7, 5), "longest_row": 2048}, "sdpa"),
    ],
)
def test_the_choice_on_a_gpu_is_the_first_that_is_available(
    packages: list[str],
    changes: dict[str, Any],
    implementation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(monkeypatch, *packages)
    choice = choose("auto", replace(GPU, **changes))
    assert choice.implementation == implementation, choice.reason


@pytest.mark.parametrize(
    ("requested", "conditions", "message"),
    [
        ("flash_attention_2", CPU, "flash_attention_2 is not available: .* CUDA device"),
        ("torch_varlen", CPU, "torch_varlen is not available: .* CUDA device"),
        ("flash_attention_2", GPU, "needs the package flash-attn; install it"),
        ("flash_attention_3", GPU, "needs the package flash-attn-3; install it"),
        ("flash_attention_3", replace(GPU, capability=(8, 0)), r"9\.x \(Hopper\), and this is 8.0"),
        ("torch_varlen", replace(GPU, precision="fp32"), "set training.precision=bf16"),
        ("flash", GPU, "'flash' is not one of auto, flash_attention_3, .* eager"),
    ],
)
def test_an_attention_that_cannot_be_had_is_one_message(
    requested: str, conditions: Conditions, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch)
    with pytest.raises(UserError, match=f"training.attention: .*{message}"):
        choose(requested, conditions)
