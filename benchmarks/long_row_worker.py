"""One worker of `benchmarks/long_rows.py`: updates of the engine on long rows, and the memory that they take."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADS, KV_HEADS = 4, 2
VOCABULARY, WINDOW = 512, 256
LOSS_CHUNK = 2048
"""Tokens whose logits exist at one time."""
TILE = 1024
"""Tokens of a tile; a recipe's default, the hidden size, is meant for larger models."""
NONE, TILED, CHECKPOINTED, BOTH = "none", "tiled", "checkpointed", "both"
SAVERS = (NONE, TILED, CHECKPOINTED, BOTH)
BY_DOCUMENT = "by_document"


@dataclass(frozen=True)
class Model:
    """Size of the model, and average tokens of a document."""

    hidden: int
    layers: int
    document: int


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        length: tokens of a row.
        saver: one of `SAVERS`.
        degree: workers that share the row; there are no others.
    """

    length: int
    saver: str
    degree: int


@dataclass(frozen=True)
class Measured:
    """Result of one worker.

    Attributes:
        peak_bytes: highest resident memory in all updates, less that before the first.
        seconds: of each update after the first.
        numbers: loss and gradient norm of the first update.
    """

    peak_bytes: int
    seconds: tuple[float, ...]
    numbers: tuple[float, float]


def make_model(rank: int, folder: Path, model: Model) -> None:
    """Write a random Llama to ``folder``."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=model.hidden,
        intermediate_size=4 * model.hidden,
        num_hidden_layers=model.layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def measure(
    rank: int, folder: Path, group_file: Path, case: Case, document: int, updates: int
) -> Measured:
    """Train on so many rows as one worker of a case."""
    import torch.distributed as dist

    from longspan.parallel.groups import join_sequence_group
    from longspan.train.elastic.rendezvous import LOOPBACK, use_interface_of

    # DeepSpeed calls a collective by its deprecated name.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    use_interface_of(LOOPBACK)
    dist.init_process_group("gloo", f"file://{group_file}", rank=rank, world_size=case.degree)
    engine = build(folder, case, join_sequence_group(case.degree))
    batches = [packed_row(case.length, document, update) for update in range(updates)]
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak, see proc(5)
    before = _status_bytes("VmRSS")
    stats, seconds = [], []
    for batch in batches:
        dist.barrier()
        began = time.perf_counter()
        stats.append(engine.update(batch))
        seconds.append(time.perf_counter() - began)
    peak = _status_bytes("VmHWM") - before
    return Measured(peak, tuple(seconds[1:]), (stats[0].loss, stats[0].grad_norm))


def build(folder: Path, case: Case, group: Any) -> Any:
    """The engine of one worker, with the saver of the case."""
    from longspan.model.load import load_model
    from longspan.model.loss import CausalLMLoss
    from longspan.model.positions import Positions
    from longspan.model.tiling import tile_mlps
    from longspan.parallel.ulysses import install
    from longspan.train.deepspeed_setup import loading
    from longspan.train.engine import Engine
    from longspan.train.engine_config import EngineConfig
    from longspan.train.learning_rate import CosineSchedule

    config = EngineConfig(
        schedule=CosineSchedule(1e-3, 1e-4, 0, 100),
        zero_stage=2,
        precision="fp32",
        betas=(0.9, 0.95),
        eps=1e-8,
        weight_decay=0.1,
        gradient_clipping=1.0,
        num_sources=1,
    )
    positions = Positions("abf", 1e6, case.length / WINDOW, WINDOW)
    is_checkpointed = case.saver in (CHECKPOINTED, BOTH)
    with loading(config):
        model = load_model(folder, positions, case.length, config.dtype, "sdpa", is_checkpointed)
    if case.degree > 1:
        install("sdpa")
    else:
        use_attention_by_document(model)
    if case.saver in (TILED, BOTH):
        tile_mlps(model, TILE)
    model.train()
    return Engine(CausalLMLoss(model, LOSS_CHUNK), config, group)


def use_attention_by_document(model: Any) -> None:
    """Compute the attention of whole rows as that of shared rows is.

    Under SDPA transformers would build a mask of length x length bytes.
    """
    from transformers import AttentionInterface

    from longspan.parallel.documents import attention_by_document

    def attend(module: Any, query: Any, key: Any, value: Any, _: Any, **kwargs: Any) -> Any:
        lengths = kwargs.pop("cu_seq_lens_q").diff().tolist()
        return attention_by_document(
            module, query, key, value, None, document_lengths=lengths, **kwargs
        )

    AttentionInterface.register(BY_DOCUMENT, attend)
    model.config._attn_implementation = BY_DOCUMENT


def packed_row(length: int, document: int, update: int) -> Any:
    """A batch of one row; its documents have half to one and a half times the average number of tokens."""
    import numpy as np

    from longspan.stream.batch import collate
    from longspan.stream.row import Row

    random = np.random.default_rng((update, length))
    edges = np.cumsum(random.integers(document // 2, document * 3 // 2, 2 * length // document + 1))
    starts = np.concatenate([[0], edges[edges < length]]).astype(np.int32)
    zeros = np.zeros(len(starts), np.int64)
    tokens = random.integers(3, VOCABULARY, length).astype(np.int32)
    row = Row(update, update, 0, tokens, starts, zeros, zeros, zeros.astype(np.int32))
    return collate(update, [row], 1, length, document_mask=True)


def _status_bytes(name: str) -> int:
    """A line of /proc/self/status, which counts KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status: {name} is missing; run this benchmark on Linux")
