"""Loading a causal language model, with the positions it is to be trained with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from longspan.errors import UserError
from longspan.model.positions import (
    Positions,
    own_positions,
    require_applicable,
    rope_parameters,
    verify,
)
from longspan.model.rope import settings_kept

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def load_model(
    path: str | Path,
    positions: Positions,
    window: int,
    dtype: torch.dtype | str,
    attention: str,
    activation_checkpointing: bool,
) -> PreTrainedModel:
    """The model in a local folder, built with ``positions`` and verified to have them.

    Args:
        path: local folder with config.json and safetensors.
        positions: set in the config before the model is built; "none" keeps what the model has.
        window: tokens the model is to state as its window.
        dtype: of the parameters; rotary frequencies stay float32.
        attention: an implementation by name (see :mod:`longspan.model.attention`).
        activation_checkpointing: recompute each layer in backward, not keep its activations.

    Raises:
        UserError: the folder holds no causal language model with rotary positions, weights are
            missing, or the model cannot take the encoding or the attention.
    """
    from transformers import AutoModelForCausalLM

    from longspan.model.attention_functions import register

    register(attention)
    config = load_config(path)
    positions = set_positions(config, positions, window)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # Architectures fail in ways of their own.
        raise UserError(
            f"base_model: {path} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    _require_all_weights(report, path)
    verify(model, positions)
    if activation_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model


def offload_activations(model: PreTrainedModel) -> None:
    """Checkpoint each layer of a model on a GPU, and keep its input in pinned host memory until backward."""
    model.activation_checkpointing_enable({"use_reentrant": False}, offload=True)


def load_config(path: str | Path) -> PretrainedConfig:
    """The config of a causal language model in a local folder; code in the folder is not run.

    Raises:
        UserError: there is none, or transformers does not know its kind.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # Each family checks its config in its own way.
        raise UserError(
            f"base_model: {path} holds no config that transformers knows: {error}"
        ) from error


def set_positions(config: PretrainedConfig, positions: Positions, window: int) -> Positions:
    """Set a config's positions and window (tokens), in place and before a model is built of it.

    Returns the positions to verify: for "none" with the model's own scaling filled in.

    Raises:
        UserError: the model has no rotary positions, different ones by layer, or none that can be
            changed so.
    """
    rope = _rope_of(config)
    require_applicable(positions, rope, window)
    if positions.encoding == "none":
        positions = _own(positions, rope)
    write_positions(config, positions, window)
    return positions


def write_positions(config: PretrainedConfig, positions: Positions, window: int) -> None:
    """Make a config state ``positions`` and ``window`` (tokens), in place and unchecked."""
    config.max_position_embeddings = window
    if positions.encoding == "none":
        return
    kept = settings_kept(_rope_of(config))
    # No key of another encoding may survive.
    config.rope_parameters = {**kept, **rope_parameters(positions)}  # pyrefly: ignore


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a model's local folder.

    Raises:
        UserError: there is none that transformers can load.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the library behind it raises bare exceptions
        raise UserError(f"base_model: {path} holds no tokenizer that loads: {error}") from error
    assert tokenizer is not None, f"{path}: transformers returned no tokenizer"
    return tokenizer


def _rope_of(config: PretrainedConfig) -> dict[str, Any]:
    rope = getattr(config, "rope_parameters", None)
    kind = config.model_type
    if not rope:
        raise UserError(
            f"base_model: a {kind} model has no rotary positions; only those can be extended"
        )
    if any(isinstance(value, dict) for value in rope.values()):
        raise UserError(
            f"base_model: this {kind} model has different rotary positions by layer "
            f"({', '.join(rope)}); one set for all layers is supported"
        )
    return dict(rope)


def _own(positions: Positions, rope: dict[str, Any]) -> Positions:
    own = own_positions(rope, positions.original_window)
    assert own.base == positions.base, f"the model's base is {own.base}, not {positions.base}"
    return own


def _require_all_weights(report: dict[str, Any], path: str | Path) -> None:
    for kind in ("missing_keys", "mismatched_keys"):
        names = sorted(str(name) for name in report.get(kind) or ())
        if names:
            raise UserError(
                f"base_model: {path} lacks {len(names)} of the model's tensors or has them in "
                f"another shape (the first: {names[0]}); they would start at random"
            )
