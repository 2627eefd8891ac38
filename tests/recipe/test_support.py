"""A base model that cannot be trained correctly is refused by --validate and --plan, with the way out."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from longspan.errors import UserError
from longspan.model.support import default_config
from longspan.recipe.load import parse_recipe
from longspan.recipe.schema import Recipe
from longspan.train.prepare import check, plan_text
from tests.tiny import make_tiny_model

WINDOW = 131_072


def model_of(tiny_model: Path, folder: Path, config: dict[str, Any]) -> Path:
    """A folder with another model's config and this one's tokenizer and weights, which are not read."""
    shutil.copytree(tiny_model, folder)
    config |= {"vocab_size": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def recipe_of(base_model: Path, **changes: Any) -> Recipe:
    corpora = base_model.parent / "corpora"
    corpora.mkdir(exist_ok=True)
    (corpora / "a.txt").write_text("text " * 1000)
    return parse_recipe(
        {
            "name": "run",
            "base_model": str(base_model),
            "target_context": WINDOW,
            "document_separator": "<|endoftext|>",
            "corpora": [{"name": "a", "path": str(corpora), "weight": 1}],
            "storage": {"root": str(base_model.parent / "store")},
        }
        | changes
        | {"training": {"tokens": 2**20} | changes.get("training", {})}
    )


def test_documents_that_cannot_be_kept_apart_need_the_mask_off(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = model_of(tiny_model, tmp_path / "model", default_config("lfm2"))
    message = (
        r"packing.document_mask: the layers of this lfm2 model .*set packing.document_mask=false"
    )
    with pytest.raises(UserError, match=message):
        check(recipe_of(model))
    assert any("set packing.document_mask=false" in each for each in plan_text(recipe_of(model))[1])
    off = recipe_of(model, packing={"document_mask": False})
    assert not plan_text(off)[1]
    check(off)


def test_what_needs_the_mask_needs_another_model(tiny_model: Path, tmp_path: Path) -> None:
    model = model_of(tiny_model, tmp_path / "model", default_config("lfm2"))
    recipe = recipe_of(model, training={"loss": "per_sequence"}, packing={"method": "best_fit"})
    with pytest.raises(
        UserError, match=r"training.loss: per_sequence needs the mask: use a base model"
    ):
        check(recipe)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("recurrent_gemma", {}, "scales or caps its logits"),
        ("llama", {"quantization_config": {"quant_method": "fp8"}}, r"quantized \(fp8\)"),
        ("gemma3_text", {}, "different rotary positions by layer"),
        ("olmo2", {"hidden_act": "unknown"}, "unknown"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(
    name: str, changes: dict[str, Any], message: str, tiny_model: Path, tmp_path: Path
) -> None:
    model = model_of(tiny_model, tmp_path / "model", default_config(name) | changes)
    for refuse in (check, plan_text):
        with pytest.raises(UserError, match=rf"^base_model: .*{message}"):
            refuse(recipe_of(model))


def test_positions_whose_frequencies_depend_on_length_are_replaced_and_never_kept(
    tiny_model: Path, tmp_path: Path
) -> None:
    longrope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 48,
        "long_factor": [2.0] * 48,
        "original_max_position_embeddings": 4096,
    }
    config = default_config("phi3", rope_parameters=longrope)
    model = model_of(tiny_model, tmp_path / "model", config)
    text, problems = plan_text(recipe_of(model, target_context=131_072))
    assert "Note: positions.encoding: abf replaces the model's own longrope scaling" in text
    assert not problems
    kept = recipe_of(model, positions={"encoding": "none"})
    with pytest.raises(
        UserError, match=r"type longrope cannot be verified .*positions.encoding=abf"
    ):
        check(kept)


def test_a_limit_of_the_built_attention_is_noted(tiny_model: Path, tmp_path: Path) -> None:
    config = default_config("phi3", sliding_window=2047)
    model = model_of(tiny_model, tmp_path / "model", config)
    text, problems = plan_text(recipe_of(model))
    assert "Note: base_model: this model's attention is limited to 2,047 tokens" in text
    assert not problems


def test_infinities_are_no_obstacle(tiny_model: Path, tmp_path: Path) -> None:
    config = default_config("bamba") | {"time_step_limit": [0.0, {"__float__": "Infinity"}]}
    model = model_of(tiny_model, tmp_path / "model", config)
    check(recipe_of(model, packing={"document_mask": False}, target_context=262_144))


def test_a_head_that_differs_from_the_embeddings_it_is_tied_to_is_refused(
    tiny_model: Path, tmp_path: Path
) -> None:
    untied = make_tiny_model(tmp_path / "untied", tied=False)
    check(recipe_of(untied))
    both = tmp_path / "both"
    shutil.copytree(untied, both)
    config = json.loads((both / "config.json").read_text()) | {"tie_word_embeddings": True}
    (both / "config.json").write_text(json.dumps(config))
    message = (
        r"^base_model: config.json ties model.embed_tokens.weight to lm_head.weight .*to false"
    )
    with pytest.raises(UserError, match=message):
        check(recipe_of(both))
    from safetensors.torch import load_file, save_file

    weights = load_file(both / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, both / "model.safetensors", metadata={"format": "pt"})
    check(recipe_of(both))
    (both / "model.safetensors").write_bytes(b"1234")
    check(recipe_of(both))  # Truncated files are refused where they are read.
