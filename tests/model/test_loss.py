from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    BertConfig,
    BertModel,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from longspan.errors import UserError
from longspan.model.loss import CausalLMLoss, _loss_of_logits, loss_sum, token_losses
from longspan.model.loss_chunks import ChunkedHead

ROWS, LENGTH, VOCAB = 2, 48, 512


@pytest.fixture(params=["tied", "untied"])
def model(request: pytest.FixtureRequest, tiny: Path, tiny_untied: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(tiny if request.param == "tied" else tiny_untied)


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, positions and labels of two rows of two documents; some labels are not counted."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, VOCAB, (ROWS, LENGTH), generator=generator)
    positions = torch.cat([torch.arange(20), torch.arange(LENGTH - 20)]).repeat(ROWS, 1)
    labels = tokens.roll(-1, dims=1)
    labels[:, 19] = labels[:, -1] = -100
    labels[1, 24:40] = -100  # a whole chunk of 8 that counts nothing
    return tokens, positions, labels


def plain_loss(model: Any, tokens: Tensor, positions: Tensor, labels: Tensor) -> Tensor:
    logits = model(tokens, position_ids=positions, use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@contextmanager
def recorded_logits() -> Generator[list[torch.Size]]:
    """Shapes of all logits whose loss was computed."""
    shapes: list[torch.Size] = []
    computed = functional.cross_entropy

    def record(logits: Tensor, *arguments: Any, **options: Any) -> Tensor:
        shapes.append(logits.shape)
        return computed(logits, *arguments, **options)

    with patch.object(functional, "cross_entropy", record):
        yield shapes


def checkpointed(model: nn.Module, chunk: int) -> CausalLMLoss:
    """The loss of a head that is not known to be linear: autograd adds the gradients of its chunks."""
    loss = CausalLMLoss(model, chunk)
    loss.chunked_head = None
    return loss


@pytest.mark.parametrize("chunk", [1, 7, 8, 50, ROWS * LENGTH, 10_000])
def test_the_chunked_loss_and_its_gradients_are_the_plain_ones(
    model: LlamaForCausalLM, chunk: int
) -> None:
    model.train()
    plain = plain_loss(model, *batch())
    expected = gradients(model, plain)
    chunked = CausalLMLoss(model, chunk)(*batch())
    assert chunked.dtype == torch.float32 and chunked.shape == ()
    torch.testing.assert_close(chunked, plain, rtol=1e-5, atol=0)
    found = gradients(model, chunked)
    assert found.keys() == expected.keys() == dict(model.named_parameters()).keys()
    for name, gradient in expected.items():
        error = (found[name] - gradient).norm() / gradient.norm()
        assert error < 1e-5, f"{name}: {error}"


@pytest.mark.parametrize("chunk", [7, 8, 50])
@pytest.mark.parametrize("weighted", [False, True])
def test_in_fp32_a_linear_head_s_gradients_are_any_head_s_to_the_bit(
    model: LlamaForCausalLM, chunk: int, weighted: bool
) -> None:
    weights = torch.rand(ROWS, LENGTH, generator=torch.Generator().manual_seed(2))
    arguments = (*batch(), weights if weighted else None)
    expected = checkpointed(model, chunk)(*arguments)
    found = CausalLMLoss(model, chunk)(*arguments)
    assert torch.equal(found, expected)
    of_expected = gradients(model, expected * 0.3)
    of_found = gradients(model, found * 0.3)
    assert of_found.keys() == of_expected.keys()
    assert all(torch.equal(of_found[name], of_expected[name]) for name in of_expected)


def test_the_gradients_of_chunks_in_bfloat16_are_added_in_float32() -> None:
    generator = torch.Generator().manual_seed(3)
    head = nn.Linear(32, 96, bias=True, dtype=torch.bfloat16)
    hidden = torch.randn(1, 1024, 32, dtype=torch.bfloat16, generator=generator)
    labels = torch.randint(0, 96, (1, 1024), generator=generator)

    def error(loss: Tensor) -> float:
        """Relative error of the weight's gradient against that of fp64 logits."""
        exact = nn.Linear(32, 96, dtype=torch.float64)
        exact.load_state_dict(head.state_dict())
        logits = exact(hidden[0].double())
        functional.cross_entropy(logits, labels[0], reduction="sum").backward()
        assert exact.weight.grad is not None
        found = gradients(head, loss)
        assert found["weight"].dtype == torch.bfloat16
        return float((found["weight"] - exact.weight.grad).norm() / exact.weight.grad.norm())

    chunked = ChunkedHead(head, _loss_of_logits, 8)(hidden[0], labels[0])
    one, many = error(loss_sum(hidden, head, labels, 1024)), error(chunked)
    assert many < 1.5 * one
    assert error(loss_sum(hidden, head, labels, 8)) > 2.5 * one, "autograd would do as well"


def test_a_frozen_head_has_no_gradient(model: LlamaForCausalLM) -> None:
    untied = nn.Linear(*reversed(model.lm_head.weight.shape), bias=True)
    untied.weight.requires_grad_(False)
    hidden = torch.randn(32, untied.in_features, requires_grad=True)
    labels = torch.arange(32)
    ChunkedHead(untied, _loss_of_logits, 8)(hidden, labels).backward()
    assert untied.weight.grad is None
    assert untied.bias.grad is not None and hidden.grad is not None
    expected = untied.bias.grad.clone()
    untied.bias.grad = None
    loss_sum(hidden[None], untied, labels[None], 8).backward()
    torch.testing.assert_close(untied.bias.grad, expected)


def test_a_scale_on_the_loss_reaches_every_gradient(model: LlamaForCausalLM) -> None:
    loss = CausalLMLoss(model, 8)
    whole = gradients(model, loss(*batch()))
    scaled = gradients(model, loss(*batch()) * 0.125)
    for name, gradient in whole.items():
        torch.testing.assert_close(scaled[name], gradient * 0.125, msg=name)


def test_two_backward_passes_accumulate(model: LlamaForCausalLM) -> None:
    loss = CausalLMLoss(model, 8)
    parts = [gradients(model, loss(*batch(seed))) for seed in (0, 1)]
    model.zero_grad()
    for seed in (0, 1):
        loss(*batch(seed)).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, parts[0][name] + parts[1][name], msg=name)


def test_a_gradient_is_ready_once_per_backward_pass(model: LlamaForCausalLM) -> None:
    """ZeRO reduces a gradient when it is ready: once per chunk would count it several times."""
    ready: list[str] = []
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: ready.append(name))
    CausalLMLoss(model, 8)(*batch()).backward()
    assert sorted(ready) == sorted(dict(model.named_parameters()))


def test_the_logits_of_all_tokens_never_exist_at_once(model: LlamaForCausalLM) -> None:
    chunk, saved = 8, []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.shape)
        return tensor

    with recorded_logits() as produced:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = CausalLMLoss(model, chunk)(*batch())
        kept = [shape for shape in saved if shape[-1:] == (VOCAB,)]
        assert not kept, f"logits kept for backward: {kept}"
        forward = len(produced)
        loss.backward()
    assert max(shape.numel() for shape in produced) == chunk * VOCAB
    assert forward == ROWS * LENGTH // chunk
    assert len(produced) == 2 * forward, "each chunk is recomputed once"


def test_one_chunk_is_not_recomputed(model: LlamaForCausalLM) -> None:
    with recorded_logits() as produced:
        CausalLMLoss(model, ROWS * LENGTH)(*batch()).backward()
    assert produced == [torch.Size((ROWS * LENGTH, VOCAB))]


def test_chunks_that_count_nothing_are_computed_all_the_same(model: LlamaForCausalLM) -> None:
    """All ranks gather the head equally often under ZeRO-3, whatever their labels."""
    tokens, positions, labels = batch()
    with recorded_logits() as produced:
        loss = CausalLMLoss(model, 8)(tokens, positions, torch.full_like(labels, -100))
        loss.backward()
    assert loss.item() == 0
    assert len(produced) == 2 * ROWS * LENGTH // 8
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_token_losses_add_up_and_are_zero_where_not_counted(model: LlamaForCausalLM) -> None:
    tokens, positions, labels = batch()
    wrapped = CausalLMLoss(model, 8)
    losses = wrapped.token_losses(tokens, positions, labels)
    assert losses.shape == labels.shape and losses.dtype == torch.float32
    assert not losses.requires_grad
    assert torch.equal(losses == 0, labels == -100)
    torch.testing.assert_close(losses.sum(), wrapped(tokens, positions, labels).detach())


def test_logits_in_bfloat16_are_summed_in_float32() -> None:
    head = nn.Linear(16, 64, bias=False, dtype=torch.bfloat16)
    hidden = torch.randn(
        1, 32, 16, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(1)
    )
    labels = torch.arange(32)[None]
    expected = functional.cross_entropy(head(hidden).float()[0], labels[0], reduction="sum")
    assert torch.equal(loss_sum(hidden, head, labels, 64), expected)
    torch.testing.assert_close(loss_sum(hidden, head, labels, 4), expected)
    assert token_losses(hidden, head, labels, 4).dtype == torch.float32


def test_activation_checkpointing_changes_no_gradient(model: LlamaForCausalLM) -> None:
    wrapped = CausalLMLoss(model.train(), 8)
    expected = gradients(model, wrapped(*batch()))
    model.activation_checkpointing_enable({"use_reentrant": False})
    calls: list[int] = []
    model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    found = gradients(model, wrapped(*batch()))
    assert len(calls) == 2, "the layer was not recomputed"
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def test_another_family_works_alike() -> None:
    sizes = {"vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 96, "head_dim": 32}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = Qwen3ForCausalLM(Qwen3Config(**sizes, **layers))  # pyrefly: ignore
    torch.testing.assert_close(CausalLMLoss(model, 8)(*batch()), plain_loss(model, *batch()))


def test_a_model_without_an_output_head_is_refused() -> None:
    bert = BertModel(BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=1))
    with pytest.raises(UserError, match=r"^base_model: BertModel has no"):
        CausalLMLoss(bert, 8)
