"""Every architecture is trained correctly, or refused before anything starts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from longspan.errors import UserError
from longspan.model import loss_checks, probe, support
from longspan.model.attention import FLASH
from longspan.model.export import ExportSpec, export_model, rehearse_export
from longspan.model.facts import EXACT_FAMILIES, facts_from_config
from longspan.model.load import set_positions
from longspan.model.loss import CausalLMLoss
from longspan.model.positions import Positions
from longspan.model.shrink import WINDOW, tiny_config
from longspan.model.support import default_config, is_plain, measured, print_table, table, verdict
from tests.model.architectures import FAST, Changes, every_architecture, facts_of

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
ABF = Positions("abf", 500_000.0, 2.0, WINDOW)
LENGTHS = (23, 31)


def tiny_model(name: str, changes: Changes) -> Any:
    """A small random model of a type, with ABF positions and parameters large enough to matter."""
    full = AutoConfig.for_model(**default_config(name, **changes))
    config = type(full)(**tiny_config(full.to_dict()))
    set_positions(config, ABF, 2 * WINDOW)
    generator = torch.Generator().manual_seed(11)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.1
            parameter.add_(noise * scale)
    return model.eval()


def documents(vocabulary: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(3, vocabulary, (1, length), generator=generator) for length in LENGTHS]


def losses(model: Any, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Loss of each token but the first of a row, by the product's code."""
    labels = functional.pad(tokens[:, 1:], (0, 1), value=-100)
    return CausalLMLoss(model, 8).token_losses(tokens, positions, labels)[0]


@pytest.mark.parametrize(("name", "changes"), every_architecture())
@torch.no_grad()
def test_an_architecture_that_is_accepted_is_trained_correctly(
    name: str, changes: Changes, tiny: Path, tmp_path: Path
) -> None:
    try:
        facts = facts_of(name, changes)
    except UserError as error:
        assert str(error).startswith("base_model: ")
        assert (name, changes) not in FAST
        return  # Refused before anything starts.
    model = tiny_model(name, changes)
    first, second = documents(model.config.vocab_size)
    alone = losses(model, second, torch.arange(LENGTHS[1])[None])
    own = model(input_ids=second, labels=second, use_cache=False).loss
    torch.testing.assert_close(alone[:-1].mean(), own, msg="the loss is not the model's own")

    packed = torch.cat([first, second], dim=1)
    restarting = torch.cat([torch.arange(n) for n in LENGTHS])[None]
    behind = losses(model, packed, restarting)[LENGTHS[0] :]
    apart = bool((behind - alone).abs().max() < 1e-3)
    assert apart == facts.isolates_documents
    through = losses(model, packed, torch.arange(sum(LENGTHS))[None])[LENGTHS[0] :]
    assert (through - alone).abs().max() > 0.05, "documents that are not kept apart see each other"

    rotary = [m for m in model.modules() if getattr(m, "inv_freq", None) is not None]
    assert rotary
    for module in rotary:
        pairs = module.inv_freq.numel()
        expected = 500_000.0 ** -(np.arange(pairs) / pairs)
        np.testing.assert_allclose(module.inv_freq.numpy(), expected, rtol=1e-5)

    spec = ExportSpec(model.config, ABF, 2 * WINDOW, torch.float32)
    rehearse_export(model, tiny, spec)
    path = export_model(dict(model.state_dict()), tiny, spec, tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(path).eval()
    again = losses(loaded, second, torch.arange(LENGTHS[1])[None])
    torch.testing.assert_close(again, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "changes"), every_architecture())
@torch.no_grad()
def test_documents_are_kept_apart_by_boundaries_as_by_a_mask(
    name: str, changes: Changes, varlen_by_hand: list[int]
) -> None:
    """FlashAttention is given no mask: the boundaries have to reach it through every layer."""
    try:
        facts = facts_of(name, changes)
    except UserError:
        return
    if not (facts.isolates_documents and set(FLASH) & set(facts.attention)):
        return  # Trained without a document mask, or without FlashAttention.
    model = tiny_model(name, changes)
    model.config._attn_implementation = "varlen_by_hand"
    first, second = documents(model.config.vocab_size)
    alone = losses(model, second, torch.arange(LENGTHS[1])[None])
    restarting = torch.cat([torch.arange(n) for n in LENGTHS])[None]
    behind = losses(model, torch.cat([first, second], dim=1), restarting)[LENGTHS[0] :]
    torch.testing.assert_close(behind, alone, atol=1e-3, rtol=0)
    assert varlen_by_hand


@pytest.mark.parametrize("name", EXACT_FAMILIES)
def test_families_that_are_not_run_would_be_found_correct(name: str) -> None:
    config = default_config(name)
    found = probe.probe(config)
    assert found.loss_error < loss_checks.TOLERANCE and found.packed_error < loss_checks.TOLERANCE
    assert found.effect > 100 * loss_checks.TOLERANCE
    facts = facts_from_config(config)
    assert found.implementations == facts.attention
    assert found.attention_window == facts.sliding_window


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("lfm2", {}),
        ("qwen3_5_text", {}),
        ("falcon_h1", {}),
        ("bamba", {}),
        ("olmo_hybrid", {}),
        ("zamba2", {"use_mem_rope": True}),
        # Its attention ignores positions that restart, though transformers lists no such layers.
        ("falcon", {"intermediate_size": 18_176}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_documents_that_a_mask_does_not_keep_apart_are_found(name: str, changes: Changes) -> None:
    assert not facts_of(name, changes).isolates_documents


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("recurrent_gemma", {}),
        ("gemma2", {}),
        ("cohere", {}),
        ("granite", {"logits_scaling": 8.0}),
        ("minicpm3", {}),
        ("hyperclovax", {"logits_scaling": 8.0}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_logits_that_are_changed_around_the_head_are_refused(name: str, changes: Changes) -> None:
    with pytest.raises(UserError, match="scales or caps its logits around the output head"):
        facts_of(name, changes)


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, None),
        ({"sliding_window": 2047}, 2047),
    ],
)
def test_a_sliding_window_is_found_in_the_mask_that_attention_is_given(
    changes: Changes, limit: int | None
) -> None:
    assert facts_of("phi3", changes).sliding_window == limit
    assert facts_of("cwm", {}).sliding_window == 8192


@pytest.mark.parametrize(
    "settings",
    [
        {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
        {"quantization_config": {"quant_method": "compressed-tensors"}},
        {"compression_config": {"format": "float-quantized"}},
        {"quantization_config": {"bits": 4}},
    ],
)
@pytest.mark.parametrize("name", ["llama", "olmo2"])
def test_quantized_weights_are_refused_with_the_way_out(name: str, settings: Changes) -> None:
    config = default_config(name) | settings
    method = settings.get("quantization_config", {}).get("quant_method", "")
    with pytest.raises(UserError, match=rf"^base_model: .*quantized \({method}.*dequantize"):
        measured(facts_from_config(config), config)


def test_a_real_model_is_compared_with_itself_before_it_is_trained(tiny: Path) -> None:
    model = CausalLMLoss(AutoModelForCausalLM.from_pretrained(tiny), 8).eval()
    loss_checks.require_correct(model, True, "cpu", torch.float32)
    hybrid = CausalLMLoss(tiny_model("lfm2", {}), 8).eval()
    loss_checks.require_correct(hybrid, False, "cpu", torch.float32)
    with pytest.raises(UserError, match=r"^packing.document_mask: a document's loss in Lfm2"):
        loss_checks.require_correct(hybrid, True, "cpu", torch.float32)
    with pytest.raises(UserError, match=r"^packing.document_mask"):
        loss_checks.require_correct(hybrid.to(torch.bfloat16), True, "cpu", torch.bfloat16)
    capped = CausalLMLoss(tiny_model("recurrent_gemma", {}), 8).eval()
    with pytest.raises(UserError, match=r"^base_model: the loss of RecurrentGemmaForCausalLM"):
        loss_checks.require_correct(capped, False, "cpu", torch.float32)


def test_measuring_leaves_random_numbers_and_logging_as_they_were() -> None:
    from transformers.utils import logging

    before = torch.random.get_rng_state(), logging.get_verbosity()
    probe.probe(default_config("olmo2"))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert logging.get_verbosity() == before[1]


@pytest.mark.parametrize("name", EXACT_FAMILIES)
def test_a_family_whose_config_says_something_unusual_is_run(name: str) -> None:
    plain = AutoConfig.for_model(name).to_diff_dict() | default_sizes(name)
    assert is_plain(plain)
    for change in (
        {"hidden_act": "gelu"},
        {"attention_dropout": "0.1"},
        {"logit_scale": 0.5},
        {"layer_types": ["full_attention", "linear_attention"]},
        {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}},
        {"rope_scaling": {"type": "no_such_type", "factor": 2.0}},
    ):
        assert not is_plain(plain | change), change
    assert is_plain(plain | {"rope_scaling": {"type": "linear", "factor": 2.0}})
    config = default_config(name)
    with pytest.raises(UserError, match=r"^base_model: .*no_such_function"):
        measured(facts_from_config(config), config | {"hidden_act": "no_such_function"})


def default_sizes(name: str) -> dict[str, Any]:
    config = default_config(name)
    return {key: config[key] for key in ("hidden_size", "vocab_size", "rope_parameters")}


def test_an_architecture_that_fails_is_one_message() -> None:
    config = default_config("olmo2") | {"hidden_act": "no_such_function"}
    with pytest.raises(UserError, match=r"^base_model: .*no_such_function"):
        measured(facts_from_config(config), config)


def rows_of_page() -> list[str]:
    return [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]


def test_the_page_has_the_rows_that_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(["gpt_neox", "lfm2", "mixtral", "recurrent_gemma"])
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert len(printed) == 4 and set(printed) <= set(rows_of_page())
    with pytest.raises(UserError, match="no_such_type"):
        print_table(["no_such_type"])


@pytest.mark.deep
def test_the_page_is_what_the_command_prints() -> None:
    assert rows_of_page() == [line for line in table().splitlines() if line.startswith("| `")]


def test_the_page_names_every_type_of_causal_language_model() -> None:
    names = {row.split("`")[1].partition(" ")[0] for row in rows_of_page()}
    assert names == set(support.model_types())


def test_a_verdict_says_why() -> None:
    refused = verdict("mixtral")
    assert refused.facts is None and "mixture of experts" in refused.reason
    assert json.dumps(refused.cells)
