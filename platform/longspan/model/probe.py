"""What an architecture does, found by running a tiny random model of it (see :mod:`longspan.model.shrink`).

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
from torch.nn import functional

from longspan.errors import UserError
from longspan.model.attention import FLASH, MASKED
from longspan.model.export import ExportSpec, write_model
from longspan.model.load import set_positions
from longspan.model.loss import CausalLMLoss
from longspan.model.positions import Positions, own_positions, using_positions, verify
from longspan.model.shrink import WINDOW, WINDOW_KEYS, tiny_config

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

FIRST, SECOND = 19, 29
"""Tokens of the two documents of a row."""
CHUNK = 16
TOLERANCE = 1e-3
"""Nats by which a token's loss in float32 may differ from what it should be."""
LOW_PRECISION_TOLERANCE = 0.05
"""Nats, in bfloat16."""
ABF = Positions("abf", 500_000.0, 2.0, WINDOW)
MAX_PARAMETERS = 20_000_000
"""A copy with more is not tiny: its config has sizes that are not known here."""


@dataclass(frozen=True)
class Behavior:
    """Measurements of one architecture; losses in nats, the largest difference over the tokens."""

    architecture: str
    """Name of the model's class."""
    implementations: tuple[str, ...]
    """Implementations of attention that the class takes."""
    loss_error: float
    """Loss from decoder and output head against the loss of the model's own logits."""
    packed_error: float
    """Loss of a document behind another one in a row against its loss alone."""
    effect: float
    """Change of a document's loss with the document before it when the two are not kept apart."""
    attention_window: int | None
    """Tokens that attention is limited to in at least one layer, or None."""


def probe(config: Mapping[str, Any]) -> Behavior:
    """Build a tiny random model of a config's architecture, with ABF positions, and measure it.

    Raises:
        UserError: it cannot be built and run.
    """
    with _tiny(config) as tiny:
        own = own_positions(dict(tiny.rope_parameters), tiny.max_position_embeddings)
        model, masked = _built(tiny)
        measured = _measured(model, own)
    limits = [config.get(key) for key in WINDOW_KEYS]
    limit = min((limit for limit in limits if limit), default=None)
    return replace(
        measured,
        implementations=(*(FLASH if model._supports_flash_attn else ()), *masked),
        attention_window=limit if measured.attention_window else None,
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
            attn_implementation=model.config._attn_implementation,
            local_files_only=True,
            use_safetensors=True,
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


def require_correct(
    model: CausalLMLoss, document_mask: bool, device: torch.device | str, dtype: torch.dtype
) -> None:
    """Compare a model's losses on a few tokens with its own, and those of two documents of one row.

    Args:
        model: the whole one, in evaluation mode.
        document_mask: whether documents are to be kept apart.
        device: of the model.
        dtype: of its parameters.

    Raises:
        UserError: the chunked loss is not the model's own, or a document sees another one.
    """
    name = type(model.model).__name__
    tolerance = TOLERANCE if dtype == torch.float32 else LOW_PRECISION_TOLERANCE
    error = loss_error(model, document(FIRST, model.model.config.vocab_size, 1, device))
    if not error < tolerance:
        raise UserError(
            f"base_model: the loss of {name} from its decoder and output head is {error:.2g} nats off the loss of "
            "its own logits; use an architecture of docs/models.md"
        )
    change = leak(model, True, device) if document_mask else 0.0
    if not change < tolerance:
        raise UserError(
            f"packing.document_mask: a document's loss in {name} changes by {change:.2g} nats with the document "
            f"before it in its row (attention: {model.model.config._attn_implementation}); set "
            "packing.document_mask=false, or use an architecture of docs/models.md"
        )


@torch.no_grad()
def loss_error(model: CausalLMLoss, row: Row) -> float:
    """Largest difference over a row's tokens between the chunked loss and that of the model's own logits."""
    chunked = model.token_losses(row.tokens, row.positions, row.labels)
    output = model.model(input_ids=row.tokens, position_ids=row.positions, use_cache=False)
    own = functional.cross_entropy(
        output.logits.float().flatten(0, 1), row.labels.flatten(), reduction="none"
    )
    return float((chunked.flatten() - own).abs().max())


@dataclass(frozen=True)
class Row:
    """Token ids, positions and labels, int64 [1, tokens] each."""

    tokens: Tensor
    positions: Tensor
    labels: Tensor

    def behind(self, other: Row, apart: bool) -> Row:
        """Return a row of another document and then this one, kept ``apart`` or not."""
        positions = torch.cat([other.positions, self.positions], dim=1)
        if not apart:
            positions = torch.arange(positions.numel(), device=positions.device)[None]
        return Row(
            torch.cat([other.tokens, self.tokens], dim=1),
            positions,
            torch.cat([other.labels, self.labels], dim=1),
        )


def document(num_tokens: int, vocabulary: int, first: int, device: torch.device | str) -> Row:
    """Return a document of tokens that look random and are the same every time; ``first`` tells several apart."""
    ids = (torch.arange(num_tokens + 1, device=device) * 7919 + 104_729 * first) % vocabulary
    positions = torch.arange(num_tokens, device=device)
    return Row(ids[None, :-1], positions[None], ids[None, 1:])


@torch.no_grad()
def leak(model: CausalLMLoss, apart: bool, device: torch.device | str) -> float:
    """Largest change of a document's token losses when the document before it in its row is another one.

    Args:
        model: wrapped, in evaluation mode.
        apart: whether positions restart at the second document.
        device: of the model.
    """
    vocabulary = model.model.config.vocab_size
    second = document(SECOND, vocabulary, 2, device)
    rows = (second.behind(document(FIRST, vocabulary, n, device), apart) for n in (1, 3))
    losses = [model.token_losses(row.tokens, row.positions, row.labels)[:, FIRST:] for row in rows]
    return float((losses[0] - losses[1]).abs().max())


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
        attention_window=reached if reached < SECOND else None,
    )


def _built(config: PretrainedConfig) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """A model with ABF positions and random weights, and the attention by a mask that its class takes."""
    from transformers import AutoModelForCausalLM

    set_positions(config, ABF, 2 * WINDOW)
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
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
