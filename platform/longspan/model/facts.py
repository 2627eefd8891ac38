"""What a model's config.json says, without loading the model (and without torch).

Parameter counts are exact for Llama, Mistral, Qwen2 and Qwen3 configs, whichever of biases, grouped
key-value heads and tied embeddings they use. Any other family is counted on torch's meta device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longspan.errors import UserError
from longspan.model.attention import IMPLEMENTATIONS
from longspan.model.config_json import parse_config
from longspan.model.positions import Positions, own_positions

EXACT_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")

_KEYS = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)


@dataclass(frozen=True)
class ModelFacts:
    """Sizes of a causal language model."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    window: int
    """Tokens (``max_position_embeddings``)."""
    rope_base: float
    tied: bool
    """Whether input and output embeddings are one matrix."""
    parameters: int
    """All of them, a tied matrix counted once."""
    model_type: str
    rope: tuple[tuple[str, Any], ...] = ()
    """The whole of its ``rope_parameters``, sorted."""
    sliding_window: int | None = None
    """Tokens that attention is limited to in at least one layer, where it is."""
    attention: tuple[str, ...] = IMPLEMENTATIONS
    """Implementations of attention that the model's class takes."""
    isolates_documents: bool = True
    """Whether positions that restart keep the documents of a row apart, in every layer."""
    shares_rows: bool = True
    """Whether the losses of a row stay the same when its tokens are divided among workers."""
    mixing_layer: str | None = None
    """Class of layers that pass information between tokens outside attention, where there are some."""
    untiled_mlp: str | None = None
    """Reason why the layers' MLPs cannot be computed in tiles, or None."""

    @property
    def embedding_parameters(self) -> int:
        """Input and output embeddings together; a tied matrix once."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def non_embedding_parameters(self) -> int:
        """All but the embeddings."""
        return self.parameters - self.embedding_parameters

    @property
    def matmul_parameters(self) -> int:
        """Those that multiply every token: the output head does, input embeddings are looked up."""
        return self.non_embedding_parameters + self.vocab * self.hidden

    @property
    def positions(self) -> Positions:
        """The position encoding that the model came with, its own scaling included."""
        return own_positions(dict(self.rope), self.window)


def read_facts(model_dir: str | Path) -> ModelFacts:
    """Facts of the model in a local folder.

    Raises:
        UserError: there is no readable config.json, or it is not that of a causal language model.
    """
    path = Path(model_dir) / "config.json"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"base_model: there is no {path}") from None
    return facts_from_config(parse_config(text, str(path)))


def facts_from_config(config: Mapping[str, Any]) -> ModelFacts:
    """Facts from a config.json as transformers 4 or 5 writes it.

    Raises:
        UserError: not a dense causal language model with one set of rotary positions, or a config that cannot
            be read.
    """
    try:
        return _facts(config)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # A value of another kind than transformers writes, wherever it is used.
        raise UserError(
            f"base_model: the config.json of this {config['model_type']} model cannot be read: "
            f"{type(error).__name__}: {error}"
        ) from error


def _facts(config: Mapping[str, Any]) -> ModelFacts:
    _require_causal(config)
    if config["model_type"] not in EXACT_FAMILIES:
        config = _as_transformers_reads_it(config)
    missing = [key for key in _KEYS if not isinstance(config.get(key), int)]
    if missing:
        raise UserError(
            f"base_model: the config.json of this {config['model_type']} model lacks "
            f"{', '.join(missing)}"
        )
    rope = rope_of_config(config)
    return ModelFacts(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
        head_dim=_head_dim(config),
        intermediate=config["intermediate_size"],
        vocab=config["vocab_size"],
        window=config["max_position_embeddings"],
        rope_base=float(rope["rope_theta"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        parameters=_parameters(config),
        model_type=config["model_type"],
        rope=tuple(sorted(rope.items())),
        sliding_window=_sliding_window(config),
    )


def rope_of_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The ``rope_parameters`` of a config.json: transformers 5's own, or transformers 4's two keys.

    Raises:
        UserError: no rotary positions, or different ones by layer.
    """
    rope = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    if any(isinstance(value, Mapping) for value in rope.values()):
        raise UserError(
            f"base_model: this {config.get('model_type')} model has different rotary positions by "
            f"layer ({', '.join(rope)}); one set for all layers is supported"
        )
    kind = rope.pop("type", None)
    rope["rope_type"] = rope.get("rope_type") or kind or "default"
    base = rope.get("rope_theta") or config.get("rope_theta")
    if base is None and config.get("model_type") not in EXACT_FAMILIES:
        raise UserError(
            f"base_model: the config.json of this {config.get('model_type')} model has neither "
            "rope_parameters nor rope_theta; only rotary positions can be extended"
        )
    rope["rope_theta"] = float(base or 10_000.0)
    if rope["rope_type"] in ("yarn", "llama3"):
        rope.setdefault("original_max_position_embeddings", config.get("max_position_embeddings"))
    if config.get("partial_rotary_factor") is not None:
        rope.setdefault("partial_rotary_factor", config["partial_rotary_factor"])
    return rope


def _require_causal(config: Mapping[str, Any]) -> None:
    model_type = config.get("model_type") if isinstance(config, Mapping) else None
    if not model_type:
        raise UserError("base_model: config.json has no model_type; it is not that of a model")
    architectures = config.get("architectures") or []
    if architectures and not any(str(name).endswith("ForCausalLM") for name in architectures):
        raise UserError(
            f"base_model: config.json is of {', '.join(architectures)}, which is not a causal "
            "language model"
        )
    experts = [key for key in config if key.endswith("experts") and config[key]]
    if experts:
        raise UserError(
            f"base_model: this {model_type} model is a mixture of experts ({experts[0]} is "
            f"{config[experts[0]]}), whose routers need a loss of their own; dense models are "
            "supported"
        )


def _head_dim(config: Mapping[str, Any]) -> int:
    if config.get("head_dim"):
        return config["head_dim"]
    if config["model_type"] == "qwen3":
        return 128  # the family's default, whatever the hidden size
    return config["hidden_size"] // config["num_attention_heads"]


def _sliding_window(config: Mapping[str, Any]) -> int | None:
    layers = config["num_hidden_layers"]
    kinds = config.get("layer_types")
    if config["model_type"] == "mistral":
        return config.get("sliding_window", 4096)
    if not config.get("use_sliding_window"):
        return None
    if kinds is None:
        kinds = ["sliding_attention"] * (layers - config.get("max_window_layers", 28))
    return config.get("sliding_window", 4096) if "sliding_attention" in kinds else None


def _parameters(config: Mapping[str, Any]) -> int:
    if config["model_type"] not in EXACT_FAMILIES:
        return _count_on_meta(config)
    family, hidden, inner = config["model_type"], config["hidden_size"], config["intermediate_size"]
    heads, head_dim = config["num_attention_heads"], _head_dim(config)
    queries = heads * head_dim
    keys = (config.get("num_key_value_heads") or heads) * head_dim
    attention = hidden * (queries + 2 * keys) + queries * hidden
    if family == "qwen2":
        attention += queries + 2 * keys
    elif family != "mistral" and config.get("attention_bias"):
        attention += queries + 2 * keys + hidden
    if family == "qwen3":
        attention += 2 * head_dim
    mlp = 3 * hidden * inner
    if family == "llama" and config.get("mlp_bias"):
        mlp += 2 * inner + hidden
    embeddings = config["vocab_size"] * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return config["num_hidden_layers"] * (attention + mlp + 2 * hidden) + hidden + embeddings


def _as_transformers_reads_it(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with every default of its family filled in."""
    from transformers import AutoConfig

    try:
        return AutoConfig.for_model(**config).to_dict()
    except Exception as error:  # Each family checks its config in its own way.
        raise _unknown(config, error) from error


def _count_on_meta(config: Mapping[str, Any]) -> int:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        known = AutoConfig.for_model(**config)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(known, trust_remote_code=False)
    except Exception as error:
        raise _unknown(config, error) from error
    return sum(parameter.numel() for parameter in model.parameters())


def _unknown(config: Mapping[str, Any], error: Exception) -> UserError:
    return UserError(
        f"base_model: model_type {config['model_type']!r} is not a causal language model that "
        f"transformers can build: {error}"
    )
