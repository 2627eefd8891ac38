"""Tiny copies of model configs: the same architecture, small enough to run on a CPU in a fraction of a second.

A copy keeps what decides how a model computes (kinds of layers, biases, tied embeddings, partial rotation,
soft caps, scales, windows of attention) and shrinks what only decides how large it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

MIN_LAYERS = 4
"""Layers of a copy; more where the first four do not have all kinds of layers."""
SLIDING_WINDOW = 7
"""Tokens of a copy's sliding window; odd, so that no other size is taken for it."""
CHUNK = 11
"""Tokens of a copy's attention chunks."""
WINDOW = 64
ORIGINAL_WINDOW = 32
"""Tokens that scaled positions were trained with before scaling."""
HEAD_DIM = 16
HEADS = 4

WINDOW_KEYS = ("sliding_window", "attention_window_size", "attention_chunk_size")
"""Keys of configs that limit how many tokens attention reaches."""

_SIZES = {
    "vocab_size": 128,
    "hidden_size": HEADS * HEAD_DIM,
    "intermediate_size": 96,
    "ffn_hidden_size": 96,
    "dim_model_base": 32,
    "max_position_embeddings": WINDOW,
    "original_max_position_embeddings": ORIGINAL_WINDOW,
    "sliding_window": SLIDING_WINDOW,
    "attention_window_size": SLIDING_WINDOW,
    "attention_chunk_size": CHUNK,
    "lru_width": HEADS * HEAD_DIM,
    # Latent attention
    "q_lora_rank": 24,
    "kv_lora_rank": 24,
    "qk_rope_head_dim": HEAD_DIM,
    "qk_nope_head_dim": HEAD_DIM,
    "qk_head_dim": 2 * HEAD_DIM,
    "v_head_dim": HEAD_DIM,
    # State spaces and linear attention
    "mamba_d_ssm": 2 * HEADS * HEAD_DIM,
    "mamba_d_state": 16,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 16,
    "n_mamba_heads": 8,
    "mamba_headdim": 16,
    "mamba_ngroups": 1,
    "chunk_size": 16,
    "ssm_state_size": 16,
    "state_size": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "adapter_rank": 8,
}
_LAYERS = ("num_hidden_layers", "num_layers", "n_layers")
_HEADS = ("num_attention_heads", "n_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "num_global_key_value_heads")


def tiny_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a tiny model of the same architecture.

    Args:
        config: of the model, every key explicit (``PretrainedConfig.to_dict``).
    """
    num_layers = next(config[key] for key in _LAYERS if config.get(key))
    kept = _layers_kept(config, num_layers)
    tiny = {key: _shortened(value, num_layers, kept) for key, value in config.items()}
    for key, size in _SIZES.items():
        if isinstance(config.get(key), int) and not isinstance(config[key], bool):
            tiny[key] = size if config[key] else config[key]
    tiny |= {key: kept for key in _LAYERS if config.get(key)}
    tiny |= _heads(config)
    if config.get("max_window_layers"):
        tiny["max_window_layers"] = min(config["max_window_layers"] * kept // num_layers, kept)
    last = _SIZES["vocab_size"] - 1
    tiny |= {
        key: min(value, last)
        for key, value in config.items()
        if key.endswith("_token_id") and isinstance(value, int)
    }
    if config.get("rope_parameters"):
        tiny["rope_parameters"] = _rope(config["rope_parameters"], tiny)
    return tiny


def _layers_kept(config: Mapping[str, Any], num_layers: int) -> int:
    """The smallest number of first layers that are of all kinds."""
    kinds = config.get("layer_types") or []
    found = (n for n in range(1, len(kinds) + 1) if set(kinds[:n]) == set(kinds))
    return min(max(MIN_LAYERS, next(found, 1)), num_layers)


def _shortened(value: Any, num_layers: int, kept: int) -> Any:
    """Cut lists of one entry for each layer, and leave out layers that are not there any more."""
    if not isinstance(value, list | tuple) or not value:
        return value
    if len(value) == num_layers:
        return list(value[:kept])
    if all(isinstance(item, int) and not isinstance(item, bool) for item in value):
        return [item for item in value if item < kept] if max(value) < num_layers else value
    return value


def _heads(config: Mapping[str, Any]) -> dict[str, int]:
    """Heads that share keys and values as the model's do, in a head size of their own where the model has one."""
    tiny: dict[str, int] = {}
    heads = next((config[key] for key in _HEADS if config.get(key)), HEADS)
    tiny |= {key: HEADS for key in _HEADS if config.get(key)}
    for key in _KV_HEADS:
        if config.get(key):
            tiny[key] = HEADS if config[key] == heads else 1 if config[key] == 1 else HEADS // 2
    if config.get("head_dim"):
        own = config["head_dim"] * heads != config.get("hidden_size")
        latent = bool(config.get("qk_rope_head_dim"))
        tiny["head_dim"] = 2 * HEAD_DIM if own and not latent else HEAD_DIM
    return tiny


def _rope(rope: Mapping[str, Any], tiny: Mapping[str, Any]) -> dict[str, Any]:
    """Shrink the windows in rotary settings, and lists of one factor for each pair of dimensions."""
    if any(isinstance(value, Mapping) for value in rope.values()):
        return {
            key: _rope(value, tiny) if isinstance(value, Mapping) else value
            for key, value in rope.items()
        }
    smaller = dict(rope)
    windows = {
        "original_max_position_embeddings": ORIGINAL_WINDOW,
        "max_position_embeddings": WINDOW,
    }
    smaller |= {key: size for key, size in windows.items() if rope.get(key)}
    rotated = int((tiny.get("head_dim") or HEAD_DIM) * (rope.get("partial_rotary_factor") or 1.0))
    for key, value in rope.items():
        if isinstance(value, list):
            smaller[key] = list(itertools.islice(value, rotated // 2))
    return smaller
