import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)

from longspan.errors import UserError
from longspan.model.export import ExportSpec, export_model, rehearse_export, verify_export
from longspan.model.facts import read_facts
from longspan.model.load import load_model
from longspan.model.loss import CausalLMLoss
from longspan.model.positions import Positions, own_positions, rope_parameters, verify

ABF = Positions("abf", 500_000.0, 4.0, 256)
PI = Positions("pi", 10_000.0, 4.0, 256)
YARN = Positions("yarn", 10_000.0, 4.0, 256)
NONE = Positions("none", 10_000.0, 1.0, 256)
WINDOW = 1024
PROMPT = [{"role": "user", "content": "Which ship came first?"}]


def trained(path: Path, positions: Positions = ABF) -> PreTrainedModel:
    """A model with new positions whose weights have moved."""
    model = load_model(path, positions, WINDOW, torch.float32, "sdpa", True)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def export(model: Any, source: Path, into: Path, positions: Positions = ABF, **more: Any) -> Path:
    config = getattr(model, "config", None) or more.pop("config")
    spec = ExportSpec(config, positions, WINDOW, **{"dtype": torch.float32, **more})
    return export_model(model, source, spec, into)


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(torch.arange(3, 300)[None]).logits


@pytest.mark.parametrize("embeddings", ["tied", "untied"])
@pytest.mark.parametrize("positions", [ABF, PI, YARN, NONE], ids=lambda p: p.encoding)
def test_the_reloaded_model_has_identical_logits(
    embeddings: str, positions: Positions, tiny: Path, tiny_untied: Path, tmp_path: Path
) -> None:
    source = tiny if embeddings == "tied" else tiny_untied
    model = trained(source, positions)
    path = export(model, source, tmp_path / "model", positions)
    reloaded = AutoModelForCausalLM.from_pretrained(path).eval()
    assert torch.equal(logits(reloaded), logits(model))
    verify(reloaded, positions)
    assert reloaded.config.rope_parameters == rope_parameters(positions)


def test_config_json_states_the_window_and_the_base(tiny: Path, tmp_path: Path) -> None:
    path = export(trained(tiny), tiny, tmp_path / "model")
    config = json.loads((path / "config.json").read_text())
    assert config["max_position_embeddings"] == WINDOW
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": 500_000.0}
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == "float32" and config["use_cache"] is True
    facts = read_facts(path)
    assert (facts.window, facts.rope_base) == (WINDOW, 500_000.0)


@pytest.mark.parametrize("positions", [ABF, PI, YARN], ids=lambda p: p.encoding)
def test_config_json_states_the_same_to_readers_of_the_older_form(
    positions: Positions, tiny: Path, tmp_path: Path
) -> None:
    path = export(trained(tiny, positions), tiny, tmp_path / "model", positions)
    config = json.loads((path / "config.json").read_text())
    older = {"rope_theta": config["rope_theta"], **(config.get("rope_scaling") or {})}
    assert {"rope_type": "default", **older} == rope_parameters(positions)
    AutoConfig.from_pretrained(path).save_pretrained(tmp_path / "again")
    again = AutoConfig.from_pretrained(tmp_path / "again")
    assert again.rope_parameters == rope_parameters(positions)


def test_only_safetensors_are_written_beside_text(tiny: Path, tmp_path: Path) -> None:
    path = export(trained(tiny), tiny, tmp_path / "model")
    assert {file.name for file in path.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"], "nothing half-written is left"


def test_the_tokenizer_and_chat_template_travel(tiny: Path, tmp_path: Path) -> None:
    path = export(trained(tiny), tiny, tmp_path / "model")
    before, after = AutoTokenizer.from_pretrained(tiny), AutoTokenizer.from_pretrained(path)
    assert before is not None and after is not None
    texts = [t.apply_chat_template(PROMPT, tokenize=False) for t in (before, after)]
    assert texts[0] == texts[1] and "<|im_start|>user" in texts[0]
    assert before(texts[0]).input_ids == after(texts[0]).input_ids
    assert after.model_max_length == WINDOW
    assert before.model_max_length > WINDOW


def test_a_bfloat16_export_is_half_as_large_and_states_it(tiny: Path, tmp_path: Path) -> None:
    model = trained(tiny)
    whole = export(model, tiny, tmp_path / "whole")
    half = export(model, tiny, tmp_path / "half", dtype=torch.bfloat16)
    assert json.loads((half / "config.json").read_text())["dtype"] == "bfloat16"
    reloaded = AutoModelForCausalLM.from_pretrained(half)
    assert reloaded.dtype == torch.bfloat16
    for (name, exact), rounded in zip(model.named_parameters(), reloaded.parameters(), strict=True):
        assert torch.equal(exact.to(torch.bfloat16), rounded), name
    sizes = [(path / "model.safetensors").stat().st_size for path in (whole, half)]
    assert sizes[1] < 0.55 * sizes[0]


@pytest.mark.parametrize("embeddings", ["tied", "untied"])
@pytest.mark.parametrize("aliases", ["as state_dict gives it", "copies", "left out"])
def test_a_state_dict_exports_as_the_model_does(
    aliases: str, embeddings: str, tiny: Path, tiny_untied: Path, tmp_path: Path
) -> None:
    source = tiny if embeddings == "tied" else tiny_untied
    model = trained(source)
    state = dict(model.state_dict())
    if aliases == "copies":
        state = {name: tensor.clone() for name, tensor in state.items()}
    if aliases == "left out" and embeddings == "tied":
        del state["lm_head.weight"]
    path = export(state, source, tmp_path / "model", config=model.config)
    names = {name for name, _ in model.named_parameters()}
    assert ("lm_head.weight" in names) == (embeddings == "untied")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(path)), logits(model))


def test_the_wrapped_model_exports_as_itself(tiny: Path, tmp_path: Path) -> None:
    model = trained(tiny)
    wrapped = CausalLMLoss(model, 8)
    path = export(wrapped, tiny, tmp_path / "model", config=model.config)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(path)), logits(model))


def test_wrong_weights_are_never_written(tiny: Path, tmp_path: Path) -> None:
    model = trained(tiny)
    state = dict(model.state_dict())
    name = "model.layers.1.mlp.up_proj.weight"
    wrong = [
        ({k: v for k, v in state.items() if k != name}, f"lack {name}"),
        (state | {"model.extra": torch.ones(1)}, r"model\.extra"),
        (state | {name: state[name][:-1]}, rf"{name} is .*127"),
        (state | {"lm_head.weight": state["lm_head.weight"] + 1}, "are tied but differ"),
    ]
    for weights, message in wrong:
        with pytest.raises(AssertionError, match=message):
            export(weights, tiny, tmp_path / "model", config=model.config)
    assert not list(tmp_path.iterdir())


def test_an_export_replaces_the_one_before(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.mkdir()
    (path / "stale.safetensors").write_text("stale")
    model = trained(tiny)
    export(model, tiny, path)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(path)), logits(model))
    assert not (path / "stale.safetensors").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_a_generation_config_travels_as_it_came(tiny: Path, tmp_path: Path) -> None:
    # Sampling off, but a temperature: transformers loads that and refuses to save it.
    generation = GenerationConfig(eos_token_id=[0, 2], temperature=0.6, do_sample=False)
    path = export(trained(tiny), tiny, tmp_path / "model", generation_config=generation)
    written = json.loads((path / "generation_config.json").read_text())
    assert written["eos_token_id"] == [0, 2] and written["temperature"] == 0.6
    AutoModelForCausalLM.from_pretrained(path)


def test_the_models_own_scaling_is_kept_by_none(tiny: Path, tmp_path: Path) -> None:
    first = export(trained(tiny, YARN), tiny, tmp_path / "first", YARN)
    facts = read_facts(first)
    assert facts.positions == own_positions(rope_parameters(YARN), WINDOW)
    for number, positions in enumerate((facts.positions, Positions("none", 1e4, 1.0, WINDOW))):
        again = export(trained(first, positions), first, tmp_path / f"{number}", positions)
        assert AutoConfig.from_pretrained(again).rope_parameters == rope_parameters(YARN)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_position_embeddings", 256),
        ("rope_theta", 10_000.0),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 10_000.0}),
        ("rope_parameters", {"rope_type": "linear", "rope_theta": 500_000.0, "factor": 4.0}),
        ("rope_scaling", {"rope_type": "linear", "factor": 4.0}),
    ],
)
def test_verify_export_finds_a_config_that_says_otherwise(
    key: str, value: Any, tiny: Path, tmp_path: Path
) -> None:
    path = export(trained(tiny), tiny, tmp_path / "model")
    verify_export(path, ABF, WINDOW)
    config = json.loads((path / "config.json").read_text()) | {key: value}
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(AssertionError):
        verify_export(path, ABF, WINDOW)


def test_verify_export_finds_pickles_and_truncated_weights(tiny: Path, tmp_path: Path) -> None:
    path = export(trained(tiny), tiny, tmp_path / "model")
    (path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(AssertionError, match="beside safetensors"):
        verify_export(path, ABF, WINDOW)
    (path / "pytorch_model.bin").unlink()
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(AssertionError, match="not whole"):
        verify_export(path, ABF, WINDOW)


def test_code_that_a_config_names_is_not_exported(tiny: Path, tmp_path: Path) -> None:
    model = trained(tiny)
    model.config.auto_map = {"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    path = export(model, tiny, tmp_path / "model")
    assert "auto_map" not in json.loads((path / "config.json").read_text())
    assert model.config.auto_map, "the trained model's config is left as it is"


def spec_of(model: Any, **changes: Any) -> ExportSpec:
    return ExportSpec(changes.get("config", model.config), ABF, WINDOW, torch.float32)


def test_an_export_is_rehearsed_without_weights(tiny: Path, tiny_untied: Path) -> None:
    for source in (tiny, tiny_untied):
        model = trained(source)
        rehearse_export(model, source, spec_of(model))


def test_a_head_that_differs_from_the_embeddings_it_is_tied_to_is_found_before_training(
    tiny_untied: Path, tmp_path: Path
) -> None:
    both = tmp_path / "both"
    shutil.copytree(tiny_untied, both)
    config = json.loads((both / "config.json").read_text()) | {"tie_word_embeddings": True}
    (both / "config.json").write_text(json.dumps(config))
    model = trained(both)
    message = r"^base_model: config.json ties model\.embed_tokens\.weight to lm_head\.weight .*set tie_word_embeddings"
    with pytest.raises(UserError, match=message):
        rehearse_export(model, both, spec_of(model))


def test_what_would_make_an_export_fail_is_found_before_training(
    tiny: Path, tmp_path: Path
) -> None:
    model = trained(tiny)
    deeper = copy.deepcopy(model.config)
    deeper.num_hidden_layers = 3
    with pytest.raises(UserError, match=r"could not be exported .*layers\.2"):
        rehearse_export(model, tiny, spec_of(model, config=deeper))
    wider = copy.deepcopy(model.config)
    wider.intermediate_size = 64
    with pytest.raises(UserError, match=r"could not be exported .*is \(128, 64\), not \(64, 64\)"):
        rehearse_export(model, tiny, spec_of(model, config=wider))
    with pytest.raises(UserError, match="holds no tokenizer"):
        rehearse_export(model, tmp_path, spec_of(model))
