"""Training on rows of many tokens, and their losses one by one, in the processes of one rank group.

The model is as small as four workers allow: what is tested is the length of the rows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

from longspan.model.load import load_model
from longspan.model.loss import CausalLMLoss
from longspan.model.positions import Positions
from longspan.parallel.groups import SequenceGroup, join_sequence_group
from longspan.parallel.ulysses import install
from longspan.stream.batch import Batch, collate
from longspan.stream.row import Row
from longspan.train.deepspeed_setup import loading
from longspan.train.engine import Engine
from longspan.train.engine_config import EngineConfig
from longspan.train.learning_rate import CosineSchedule
from tests import varlen

VOCABULARY, WINDOW = 512, 256
REFERENCE = "flash_attention_2"
"""Name under which a plain implementation of FlashAttention's interface computes whole rows.

transformers' SDPA would build a mask of length x length for the documents of a row.
"""


@dataclass(frozen=True)
class LongRow:
    """One row of each update.

    Attributes:
        length: tokens.
        document: average tokens of a document; None: the row is one document.
    """

    length: int
    document: int | None = None

    def batch(self, update: int) -> Batch:
        """The row of one update; documents are of half to one and a half times the average length."""
        random = np.random.default_rng((update, self.length))
        starts = [0]
        while self.document is not None:
            start = starts[-1] + int(random.integers(self.document // 2, self.document * 3 // 2))
            if start >= self.length:
                break
            starts.append(start)
        zeros = np.zeros(len(starts), np.int64)
        tokens = random.integers(3, VOCABULARY, self.length).astype(np.int32)
        pieces = np.array(starts, np.int32)
        row = Row(update, update, 0, tokens, pieces, zeros, zeros, zeros.astype(np.int32))
        return collate(update, [row], 1, self.length, document_mask=True)


def make_model(folder: Path) -> Path:
    """Write a random Llama of one layer, hidden size 32, four query heads and two key-value heads."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=WINDOW,
        initializer_range=0.2,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def build(model_dir: Path, window: int, group: SequenceGroup) -> Engine:
    """The model at ZeRO stage 2, with positions of ``window`` tokens."""
    config = EngineConfig(
        schedule=CosineSchedule(1e-2, 1e-3, 0, 3),
        zero_stage=2,
        precision="fp32",
        betas=(0.9, 0.95),
        eps=1e-8,
        weight_decay=0.1,
        gradient_clipping=1.0,
        num_sources=1,
    )
    attention = "sdpa" if group.degree > 1 else REFERENCE
    positions = Positions("abf", 1e6, window / WINDOW, WINDOW)
    with loading(config):
        # Without the package, transformers would not load a model with FlashAttention.
        model = load_model(model_dir, positions, window, config.dtype, "sdpa", False)
    model.config._attn_implementation = attention
    model.train()
    return Engine(CausalLMLoss(model, 8192), config, group)


def prepare(degree: int) -> SequenceGroup:
    """Join the process group, and install the attention of this degree."""
    AttentionInterface.register(REFERENCE, varlen.attend)
    dist.init_process_group("gloo")
    if degree > 1:
        install("sdpa")
    return join_sequence_group(degree)


def train(
    model_dir: Path, row: LongRow, updates: int, scored: LongRow | None, degree: int, output: Path
) -> None:
    """Rank 0 writes the statistics of each update, and before them the losses of the tokens of one more row."""
    torch.set_num_threads(1)
    group = prepare(degree)
    engine = build(model_dir, row.length, group)
    # Before any update: AdamW turns the rounding of the smallest gradients into steps of their own.
    losses = torch.empty(0) if scored is None else engine.token_losses(scored.batch(0))
    stats = [asdict(engine.update(row.batch(update))) for update in range(updates)]
    if dist.get_rank() == 0:
        output.write_text(json.dumps({"stats": stats}))
        torch.save(losses, output.with_suffix(".pt"))
    dist.destroy_process_group()


def score(model_dir: Path, row: LongRow, degree: int, output: Path) -> None:
    """Rank 0 writes the losses of a row's tokens, [2, 1, S]: computed whole, and shared by ``degree`` ranks."""
    torch.set_num_threads(1)
    shared = prepare(degree)
    whole = SequenceGroup.single(dist.get_rank(), dist.get_world_size())
    losses = [
        build(model_dir, row.length, group).token_losses(row.batch(0)) for group in (whole, shared)
    ]
    if dist.get_rank() == 0:
        torch.save(torch.stack(losses), output)
    dist.destroy_process_group()
