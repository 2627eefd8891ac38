"""Writing a trained model as a Hugging Face folder that any other tool loads, and checking it.

Safetensors, config, tokenizer, chat template and generation config. The folder gets its name only
when it is whole and verified.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longspan.errors import UserError
from longspan.model.load import load_config, set_positions
from longspan.model.positions import Positions, own_positions, rope_parameters, verify

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import (
        GenerationConfig,
        PretrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

SHARD_SIZE = "5GB"


def export_model(
    weights: Mapping[str, torch.Tensor] | nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainedConfig,
    path: str | Path,
    positions: Positions,
    window: int,
    dtype: torch.dtype,
    generation_config: GenerationConfig | None = None,
) -> Path:
    """Write the model to the folder ``path``, replacing what is there, and verify it.

    Args:
        weights: the causal language model, a :class:`~longspan.model.loss.CausalLMLoss` around it, or
            its full state dict on one process (tied weights may be there once or twice).
        tokenizer: goes along with its chat template; its ``model_max_length`` becomes the window.
        config: of the trained model.
        path: the folder, under this name only when it is whole.
        positions: what the model was trained with.
        window: tokens, the new ``max_position_embeddings``.
        dtype: of the written tensors.
        generation_config: the base model's (its sampling, its tokens that end a turn); without it
            one is made from ``config``, and the model's own is taken where ``weights`` is a model.

    Raises:
        AssertionError: the weights are not those of the config, or the written folder is not as asked.
    """
    path = Path(path).absolute()
    config = _exported_config(config, positions, window)
    generation_config = generation_config or _generation_config_of(weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        _write_weights(_state_dict_of(weights), config, partial, dtype, generation_config)
        _write_tokenizer(tokenizer, partial, window)
        _state_base_for_older_readers(partial / "config.json")
        verify_export(partial, positions, window)
        _check_chat_template(tokenizer, partial)
        partial.chmod(0o755)
        _take_name(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def verify_export(path: str | Path, positions: Positions, window: int) -> None:
    """Assert that the folder states ``positions`` and ``window`` and holds whole safetensors only.

    Read back from config.json, and from the rotary module that transformers builds from it.

    Raises:
        AssertionError: it does not; with the facts.
    """
    from longspan.model.source import PICKLES, local_model_dir

    path = Path(path)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    stated = config["rope_parameters"]
    if positions.encoding == "none" and not positions.own:
        positions = own_positions(stated, positions.original_window)
    wanted = rope_parameters(positions)
    differing = {key: stated.get(key) for key in wanted if stated.get(key) != wanted[key]}
    assert not differing, f"{path}/config.json: rope_parameters have {differing}, not {wanted}"
    assert config["rope_theta"] == wanted["rope_theta"], f"rope_theta is {config['rope_theta']}"
    found = config["max_position_embeddings"]
    assert found == window, f"{path}/config.json: max_position_embeddings is {found}, not {window}"
    verify(_rotary_of(path), positions)
    others = [file.name for file in path.iterdir() if file.suffix in PICKLES]
    assert not others, f"{path} holds {others} beside safetensors"
    try:
        local_model_dir(str(path), None, path)
    except UserError as error:
        raise AssertionError(f"the export is not whole: {error}") from error


def _exported_config(config: PretrainedConfig, positions: Positions, window: int) -> PretrainedConfig:
    """A copy that states the positions; generation uses its cache again."""
    config = copy.deepcopy(config)
    if positions.encoding != "none":
        # The config is the trained model's, whose positions are these already.
        config.rope_parameters = None  # pyrefly: ignore
    _ = set_positions
    config.max_position_embeddings = window
    config.use_cache = True
    return config
