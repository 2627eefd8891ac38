"""Table of the architectures that can be trained, each measured (see :mod:`longspan.model.probe`).

``longspan models [MODEL_TYPE ...]`` prints the table of docs/models.md: of the given types,
or of all causal language models in transformers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any

from longspan.errors import UserError
from longspan.model.attention import FLASH, MASKED
from longspan.model.facts import EXACT_FAMILIES, ModelFacts, facts_from_config, rope_of_config
from longspan.model.rope import ROPE_TYPES
from longspan.parallel.limits import ATTENTION as SHAREABLE


def measured(facts: ModelFacts, config: Mapping[str, Any]) -> ModelFacts:
    """Add what only running an architecture shows to the facts of a config.json.

    The families whose parameters are counted without torch are not run if their configs say nothing unusual: a
    test does it for them.

    Raises:
        UserError: a model of this config cannot be trained correctly here.
    """
    require_unquantized(config)
    if facts.model_type in EXACT_FAMILIES and is_plain(config):
        return facts
    from longspan.model.loss_checks import TOLERANCE
    from longspan.model.probe import probe

    behavior = probe(config)
    if behavior.loss_error > TOLERANCE:
        raise UserError(
            f"base_model: {behavior.architecture} scales or caps its logits around the output head, which the "
            "loss here leaves out; use an architecture of docs/models.md (a tiny model of this config was "
            f"{behavior.loss_error:.2g} nats off)"
        )
    return replace(
        facts,
        attention=behavior.implementations,
        isolates_documents=behavior.packed_error < TOLERANCE,
        shares_rows=behavior.sharing_error < TOLERANCE,
        mixing_layer=behavior.mixing_layer,
        sliding_window=behavior.attention_window,
        untiled_mlp=behavior.untiled_mlp,
    )


_NUMBER = (int, float)
_PLAIN: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("architectures", "layer_types"), (list, NoneType)),
    **dict.fromkeys(("model_type", "hidden_act"), str),
    **dict.fromkeys(("dtype", "torch_dtype", "transformers_version"), (str, NoneType)),
    **dict.fromkeys(("_name_or_path",), (str, NoneType)),
    **dict.fromkeys(
        ("attention_dropout", "initializer_range", "rms_norm_eps", "rope_theta"), _NUMBER
    ),
    **dict.fromkeys(("attention_bias", "mlp_bias", "tie_word_embeddings"), bool),
    **dict.fromkeys(("use_cache", "use_sliding_window"), bool),
    **dict.fromkeys(("head_dim", "num_key_value_heads", "sliding_window"), (int, NoneType)),
    **dict.fromkeys(("hidden_size", "intermediate_size", "vocab_size"), int),
    **dict.fromkeys(("num_attention_heads", "num_hidden_layers", "pretraining_tp"), int),
    **dict.fromkeys(("max_position_embeddings", "max_window_layers"), int),
    **dict.fromkeys(("rope_parameters", "rope_scaling"), (dict, NoneType)),
}
"""Keys whose meaning the tests of the exact families cover, and the kinds of their values."""


def is_plain(config: Mapping[str, Any]) -> bool:
    """Return whether a config of an exact family has only keys and values that tests have run."""
    known = (
        key.endswith("_token_id") or (key in _PLAIN and isinstance(value, _PLAIN[key]))
        for key, value in config.items()
    )
    if not all(known) or config.get("hidden_act", "silu") != "silu":
        return False
    kinds = set(config.get("layer_types") or ())
    rope = rope_of_config(config)
    return kinds <= {"full_attention", "sliding_attention"} and rope["rope_type"] in ROPE_TYPES


def require_unquantized(config: Mapping[str, Any]) -> None:
    """Refuse a model whose weights are quantized.

    Raises:
        UserError: they are; with the method.
    """
    found = config.get("quantization_config") or config.get("compression_config")
    if not found:
        return
    method = found.get("quant_method") if isinstance(found, Mapping) else None
    raise UserError(
        f"base_model: the weights of this {config.get('model_type')} model are quantized "
        f"({method or 'quantization_config in its config.json'}), and only floating-point weights can be trained; "
        "give the model it was made from, or a copy that transformers has dequantized (`dequantize`) and saved"
    )


@dataclass(frozen=True)
class Verdict:
    """One row of the table.

    Attributes:
        name: model type, and what differs from its default config.
        facts: of a model that can be trained, or None.
        reason: why it cannot be.
    """

    name: str
    facts: ModelFacts | None
    reason: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """Texts of the row."""
        if self.facts is None:
            return (f"`{self.name}`", self.reason)
        apart = "yes" if self.facts.isolates_documents else "refused"
        limited = "yes" if self.facts.sliding_window else "no"
        masked = [name for name in self.facts.attention if name in MASKED]
        flash = ["flash"] if any(name in FLASH for name in self.facts.attention) else []
        divided = self.facts.shares_rows and any(name in SHAREABLE for name in self.facts.attention)
        shared = "yes" if divided else "refused"
        return (f"`{self.name}`", apart, shared, limited, ", ".join(flash + masked))


TRAINED = (
    "model type",
    "document mask",
    "shared rows",
    "attention limited in some layers",
    "attention",
)
REFUSED = ("model type", "reason")

VARIANTS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("granite", "logits_scaling 8", {"logits_scaling": 8.0}),
    ("hyperclovax", "logits_scaling 8", {"logits_scaling": 8.0}),
    ("llama", "tied, biases", {"tie_word_embeddings": True, "attention_bias": True}),
    ("phi3", "sliding_window 2047", {"sliding_window": 2047}),
    ("qwen2", "use_sliding_window", {"use_sliding_window": True, "max_window_layers": 16}),
    ("qwen3", "tied, biases", {"tie_word_embeddings": True, "attention_bias": True}),
    ("stablelm", "parallel residual", {"use_parallel_residual": True, "qk_layernorm": True}),
    ("zamba2", "use_mem_rope", {"use_mem_rope": True}),
)
"""Configs besides the default ones: model type, what differs, and the keys."""

_COMPLETED: dict[str, Mapping[str, Any]] = {
    "hunyuan_v1_dense": {"head_dim": 128},
    "lfm2": {"layer_types": (["conv"] * 2 + ["full_attention"]) * 10 + ["conv"] * 2},
    "ministral": {"head_dim": 128},
    "nemotron": {"num_key_value_heads": 8},
    "recurrent_gemma": {"max_position_embeddings": 8192},
}
"""Keys that the default config of a type leaves out and every model of it has."""


def model_types() -> list[str]:
    """Return every type of causal language model in transformers."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def default_config(model_type: str, **changes: Any) -> dict[str, Any]:
    """Return the default config of a type, every key explicit, with some keys changed.

    Raises:
        UserError: transformers has none.
    """
    from transformers import AutoConfig

    try:
        completed = {**_COMPLETED.get(model_type, {}), **changes}
        return AutoConfig.for_model(model_type, **completed).to_dict()
    except Exception as error:  # Each family checks its config in its own way.
        raise UserError(f"base_model: {model_type} has no default config: {error}") from error


def verdict(model_type: str, label: str = "", changes: Mapping[str, Any] | None = None) -> Verdict:
    """Judge the default config of a type, with some keys changed."""
    from longspan.model.probe import require_round_trip

    name = f"{model_type} ({label})" if label else model_type
    try:
        config = default_config(model_type, **(changes or {}))
        facts = measured(facts_from_config(config), config)
        require_round_trip(config)
        return Verdict(name, facts)
    except UserError as error:
        first = str(error).removeprefix("base_model: ").splitlines()[0]
        return Verdict(name, None, first.partition(";")[0].replace("|", "/"))


def table(types: Sequence[str] = ()) -> str:
    """Return what holds for some types, or for all, as Markdown."""
    asked = types or model_types()
    verdicts = [verdict(name) for name in asked]
    verdicts += [verdict(*variant) for variant in VARIANTS if variant[0] in asked]
    verdicts.sort(key=lambda each: each.name)
    trained = [each.cells for each in verdicts if each.facts]
    refused = [each.cells for each in verdicts if not each.facts]
    return (
        f"### Architectures that can be trained\n\n{_markdown(TRAINED, trained)}\n\n"
        f"### Architectures that are refused\n\n{_markdown(REFUSED, refused)}"
    )


def _markdown(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ("---",) * len(header), *rows))


def print_table(types: Sequence[str]) -> None:
    """Print which architectures can be trained.

    Args:
        types: as in config.json; all causal language models in transformers if there are none.

    Raises:
        UserError: transformers does not have one of them.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()
    if unknown := sorted(set(types) - set(model_types())):
        raise UserError(f"no causal language models in transformers: {', '.join(unknown)}")
    print(table(types))


if __name__ == "__main__":
    from longspan.cli.entry import run_module
    from longspan.cli.models import models

    sys.exit(run_module(models, "python -m longspan.model.support"))
