"""Checks of an architecture on a tiny random model of it (see :mod:`longspan.model.shrink`).

A model is trained here through its decoder and output head, with positions that restart where a document
begins. Both are right for most architectures and silently wrong for some: logits that are scaled or capped
after the head, layers that carry a state from token to token. Measuring it needs no list of names.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from longspan._compat.transformers import (
    attention,
    attention_implementation,
    supports_flash_attention,
    unmasked_attention,
)
from longspan.errors import UserError
from longspan.model.attention import FLASH, MASKED, OWN, SDPA_BY_DOCUMENT
from longspan.model.attention_functions import register
from longspan.model.export import ExportSpec, write_model
from longspan.model.load import set_positions
from longspan.model.loss import CausalLMLoss
from longspan.model.loss_checks import FIRST, SECOND, TOLERANCE, document, leak, loss_error
from longspan.model.positions import Positions, own_positions, using_positions, verify
from longspan.model.sharing_probe import mixing_layer, sharing_error
from longspan.model.shrink import WINDOW, WINDOW_KEYS, tiny_config
from longspan.model.tiled_norms import tile_norms
from longspan.model.tiling import tile_mlps, why_not_tiled

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

CHUNK = 16
ABF = Positions("abf", 500_000.0, 2.0, WINDOW)
MAX_PARAMETERS = 20_000_000
"""A copy with more is not tiny: its config has sizes that are not known here."""


@dataclass(frozen=True)
class Behavior:
    """Measurements of one architecture; differences in nats."""

    architecture: str
    """Name of the model's class."""
    implementations: tuple[str, ...]
    """Implementations of attention that the class takes."""
    loss_error: float
    """Loss from decoder and output head against the loss of the model's own logits: mean over tokens."""
    packed_error: float
    """Loss of a document behind another one in a row against its loss alone: the largest of any token."""
    effect: float
    """Change of a document's loss with the document before it when the two are not kept apart."""
    sharing_error: float
    """Loss of a row divided among two ranks against its loss as a whole: the largest of any token."""
    mixing_layer: str | None
    """Class of a layer that passes information between tokens outside attention, or None."""
    attention_window: int | None
    """Tokens that attention is limited to in at least one layer, or None."""
    untiled_mlp: str | None = None
    """Reason why the layers' MLPs cannot be computed in tiles, or None."""


def probe(config: Mapping[str, Any]) -> Behavior:
    """Build a tiny random model of a config's architecture, with ABF positions, and measure it.

    Raises:
        UserError: it cannot be built and run.
    """
    with _tiny(config) as tiny:
        positions = own_positions(dict(tiny.rope_parameters), tiny.max_position_embeddings)
        model, masked = _built(tiny)
        measured = _measured(model, positions)
        flash = FLASH if supports_flash_attention(model) and _hands_on_boundaries(model) else ()
        own = OWN if "sdpa" in masked and _attends_by_document(model) else ()
        untiled_mlp = _why_untiled(model)
    limits = [config.get(key) for key in WINDOW_KEYS]
    limit = min((limit for limit in limits if limit), default=None)
    return replace(
        measured,
        implementations=(*flash, *own, *masked),
        attention_window=limit if measured.attention_window else None,
        untiled_mlp=untiled_mlp,
    )


def require_round_trip(config: Mapping[str, Any]) -> None:
    """Export a tiny random model of a config's architecture, load it again, and compare losses.

    Raises:
        UserError: it cannot be exported, or comes back as another model.
    """
    from transformers import AutoModelForCausalLM

    with _tiny(config) as tiny, tempfile.TemporaryDirectory(prefix="longspan-probe-") as folder:
        model = _built(tiny)[0]
        write_model(model, ExportSpec(model.config, ABF, 2 * WINDOW, torch.float32), Path(folder))
        loaded = AutoModelForCausalLM.from_pretrained(
            folder,
            attn_implementation=attention_implementation(model.config),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
        verify(loaded, ABF)
        row = document(SECOND, tiny.vocab_size, 2, "cpu")
        before, after = (
            CausalLMLoss(each.eval(), CHUNK).token_losses(row.tokens, row.positions, row.labels)
            for each in (model, loaded)
        )
        error = float((after - before).abs().max())
        assert error < 1e-4, f"exported and loaded again, its losses differ by {error:.2g} nats"


@contextlib.contextmanager
def _tiny(config: Mapping[str, Any]) -> Iterator[PretrainedConfig]:
    """The tiny config; what goes wrong with it within the block becomes the user's error."""
    from transformers import AutoConfig

    try:
        with _quiet(), torch.random.fork_rng(devices=[]), torch.no_grad():
            full = AutoConfig.for_model(**config)
            yield type(full)(**tiny_config(full.to_dict()))
    except UserError:
        raise
    except Exception as error:  # Architectures fail in ways of their own.
        raise UserError(
            f"base_model: a tiny model of this {config.get('model_type')} architecture fails "
            f"({type(error).__name__}: {error}), so nothing vouches for a large one; use an architecture of "
            "docs/models.md"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from reporting on a model that nobody asked for."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _measured(model: PreTrainedModel, own: Positions) -> Behavior:
    """Measure a tiny model that came with ``own`` positions."""
    wrapped = CausalLMLoss(model, CHUNK)
    first, second = (document(n, model.config.vocab_size, n, "cpu") for n in (FIRST, SECOND))
    packed = second.behind(first, apart=True)
    with _attention_masks(model) as visible:
        alone = wrapped.token_losses(second.tokens, second.positions, second.labels)
    behind = wrapped.token_losses(packed.tokens, packed.positions, packed.labels)[:, FIRST:]
    with using_positions(model, own):
        wrapped.token_losses(packed.tokens, packed.positions, packed.labels)
    reached = min(visible, default=SECOND)
    return Behavior(
        architecture=type(model).__name__,
        implementations=(),
        loss_error=loss_error(wrapped, packed),
        packed_error=float((behind - alone).abs().max()),
        effect=leak(wrapped, False, "cpu"),
        sharing_error=sharing_error(model, packed),
        mixing_layer=mixing_layer(model, packed),
        attention_window=reached if reached < SECOND else None,
    )


def _why_untiled(model: PreTrainedModel) -> str | None:
    """Reason why the MLPs of a tiny model cannot be computed in tiles, which they are afterwards if it is None."""
    if problem := why_not_tiled(model):
        return problem
    wrapped = CausalLMLoss(model, CHUNK)
    row = document(SECOND, model.config.vocab_size, 2, "cpu")
    whole = wrapped.token_losses(row.tokens, row.positions, row.labels)
    tile_mlps(model, SECOND // 3)
    tile_norms(model, SECOND // 3)
    tiled = wrapped.token_losses(row.tokens, row.positions, row.labels)
    error = float((tiled - whole).abs().max())
    if error < TOLERANCE:
        return None
    return f"the MLPs or norms of {type(model).__name__} mix tokens (in tiles, a loss is {error:.2g} nats off)"


def _built(config: PretrainedConfig) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """A model with ABF positions and random weights, and the attention by a mask that its class takes."""
    from transformers import AutoModelForCausalLM

    set_positions(config, ABF, 2 * WINDOW)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        size = sum(parameter.numel() for parameter in model.parameters())
    if size > MAX_PARAMETERS:
        raise ValueError(f"its tiny copy has {size:,} parameters")
    model, taken = None, []
    for name in MASKED:
        with contextlib.suppress(ValueError, ImportError):
            made = AutoModelForCausalLM.from_config(
                config, attn_implementation=name, dtype=torch.float32, trust_remote_code=False
            )
            model = model or made
            taken.append(name)
    if model is None:
        raise ValueError(f"it takes none of the attention implementations {MASKED}")
    verify(model, ABF)
    _randomize(model)
    return model.eval(), tuple(taken)


def _randomize(model: nn.Module) -> None:
    """Give every parameter a size at which it matters: fresh models have biases of 0 and nearly no attention."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            parameter.copy_(noise * 1.5 / parameter.shape[-1] ** 0.5)
        else:
            parameter.add_(0.1 * noise)


def _hands_on_boundaries(model: PreTrainedModel) -> bool:
    """Whether every call of attention is told where documents begin, as FlashAttention needs it."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    told: list[bool] = []

    def attend(*args: Any, **kwargs: Any) -> Any:
        told.append(kwargs.get("cu_seq_lens_q") is not None)
        return ALL_ATTENTION_FUNCTIONS["sdpa"](*args, **kwargs)

    row = document(FIRST, model.config.vocab_size, 1, "cpu")
    try:
        with unmasked_attention(model.config, "longspan_probe", attend):
            CausalLMLoss(model, CHUNK).token_losses(row.tokens, row.positions, row.labels)
    except (ImportError, RuntimeError, TypeError, ValueError):
        return False  # Layers that need a library, or an argument, to be told.
    return bool(told) and all(told)


def _attends_by_document(model: PreTrainedModel) -> bool:
    """Whether losses stay the same with attention that is given documents and a window, and no mask."""
    wrapped = CausalLMLoss(model, CHUNK)
    first, second = (document(n, model.config.vocab_size, n, "cpu") for n in (FIRST, SECOND))
    row = second.behind(first, apart=True)
    whole = wrapped.token_losses(row.tokens, row.positions, row.labels)
    register(SDPA_BY_DOCUMENT)
    try:
        with attention(model.config, SDPA_BY_DOCUMENT):
            by_document = wrapped.token_losses(row.tokens, row.positions, row.labels)
    except Exception:  # Architectures fail in ways of their own; none of them can be trained so.
        return False
    return float((by_document - whole).abs().max()) < TOLERANCE


@contextlib.contextmanager
def _attention_masks(model: nn.Module) -> Iterator[list[int]]:
    """How many tokens the last one may attend to, by every mask that a module is given within the block."""
    visible: list[int] = []

    def look(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for value in (*args, *kwargs.values()):
            if (
                isinstance(value, Tensor)
                and value.shape[-2:] == (SECOND, SECOND)
                and value.dim() == 4
            ):
                last = value[0, 0, -1]
                visible.append(int((last if last.dtype == torch.bool else last == 0).sum()))

    hooks = [m.register_forward_pre_hook(look, with_kwargs=True) for m in model.modules()]
    try:
        yield visible
    finally:
        for hook in hooks:
            hook.remove()
