"""Trains the tiny model for a few updates under torchrun; rank 0 writes what happened as JSON.

Usage: torchrun engine_worker.py MODEL ZERO_STAGE MICRO_BATCH OUT [CHECKPOINT_FOLDER]
With a folder: stops after three updates, saves, and goes on in a new engine that loads what was saved.
"""

import json
import os
import sys
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
import torch.distributed as dist

from longspan.corpus.batch import Batch, Row, collate, rank_share
from longspan.model.load import load_model
from longspan.model.loss import CausalLMLoss
from longspan.model.positions import Positions, verify
from longspan.train.engine import Engine, EngineConfig
from longspan.train.schedule import CosineSchedule

ROWS, LENGTH, UPDATES = 5, 64, 6
POSITIONS = Positions("abf", 50_000.0, 2.0, 256)
SCHEDULE = CosineSchedule(peak=1e-2, final=1e-3, warmup_updates=2, total_updates=UPDATES)


def rows_of(update: int) -> list[Row]:
    """A global batch that no number of workers but 1 and 5 divides; three documents in each row."""
    random = np.random.default_rng(update)
    starts = np.array([0, 20, 40], np.int32)
    zeros = np.zeros(3, np.int64)
    return [
        Row(
            update * ROWS + i,
            update,
            i % 2,
            random.integers(3, 500, LENGTH).astype(np.int32),
            starts,
            zeros,
            zeros,
        )
        for i in range(ROWS)
    ]


def batch_of(update: int, rank: int, world_size: int) -> Batch:
    rows = rows_of(update)
    mine, share = rank_share(ROWS, rank, world_size)
    return collate(update, [rows[i] for i in mine], share, LENGTH, document_mask=True)


def build(model_dir: str, zero_stage: Literal[1, 2, 3], micro_batch: int) -> Engine:
    model = load_model(
        model_dir, POSITIONS, 512, torch.float32, "sdpa", activation_checkpointing=False
    )
    model.train()
    config = EngineConfig(
        schedule=SCHEDULE,
        zero_stage=zero_stage,
        precision="fp32",
        betas=(0.9, 0.95),
        eps=1e-8,
        weight_decay=0.1,
        gradient_clipping=1.0,
        num_sources=2,
        micro_batch={LENGTH: micro_batch},
    )
    engine = Engine(CausalLMLoss(model, 100), config)
    verify(engine.model, POSITIONS)
    return engine


def main(
    model_dir: str, zero_stage: str, micro_batch: str, out: str, checkpoint: str | None = None
) -> None:
    (stage,) = (s for s in get_args(Literal[1, 2, 3]) if s == int(zero_stage))
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    engine = build(model_dir, stage, int(micro_batch))
    stats = []
    for update in range(UPDATES):
        if checkpoint and update == 3:
            engine.save(Path(checkpoint))
            dist.barrier()
            engine = build(model_dir, stage, int(micro_batch))
            engine.load(Path(checkpoint))
        stats.append(engine.update(batch_of(update, rank, world_size)))
    heldout = engine.token_losses(batch_of(UPDATES - 1, rank, world_size)).sum(dtype=torch.float64)
    dist.all_reduce(heldout)
    weights = engine.state_dict()
    if weights is not None:
        norm = sum(float(tensor.double().square().sum()) for tensor in weights.values()) ** 0.5
        result = {
            "stats": [vars(s) for s in stats],
            "heldout": heldout.item(),
            "norm": norm,
            "names": sorted(weights),
        }
        Path(out).write_text(json.dumps(result))
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(*sys.argv[1:])
