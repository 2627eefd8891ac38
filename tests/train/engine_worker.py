"""Trains the tiny model for a few updates under torchrun; rank 0 writes what happened as JSON.

Run it under torchrun; --help says what it takes.
"""

import argparse
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist

from longspan.ingest.marks import marked
from longspan.model.load import load_model
from longspan.model.loss import CausalLMLoss
from longspan.model.positions import Positions, verify
from longspan.storage import Store
from longspan.stream.batch import Batch, TokenWeights, collate, rank_share
from longspan.stream.row import Row
from longspan.train.checkpoint import CheckpointFacts, Checkpoints
from longspan.train.engine import Engine, EngineConfig, loading
from longspan.train.parts import read_parts
from longspan.train.saver import Saver
from longspan.train.schedule import CosineSchedule

ROWS, LENGTH, UPDATES = 5, 64, 6
POSITIONS = Positions("abf", 50_000.0, 2.0, 256)
WEIGHTS = {
    "per_token": TokenWeights((0.25, 0.0)),
    "per_sequence": TokenWeights((0.25, 0.0), per_sequence=True),
}
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
            zeros.astype(np.int32),
        )
        for i in range(ROWS)
    ]


def with_answers(row: Row) -> Row:
    """The row as one of conversations: some of its tokens are answers'."""
    answers = np.random.default_rng(row.index).random(LENGTH) < 0.3
    return replace(row, tokens=marked(row.tokens, answers))


def batch_of(update: int, rank: int, world_size: int, weights: TokenWeights | None = None) -> Batch:
    rows = [with_answers(row) if weights else row for row in rows_of(update)]
    mine, share = rank_share(ROWS, rank, world_size)
    chosen = [rows[i] for i in mine]
    return collate(update, chosen, share, LENGTH, document_mask=True, weights=weights)


def build(
    model_dir: Path,
    zero_stage: Literal[1, 2, 3],
    micro_batch: int,
    precision: Literal["bf16", "fp32"],
    dropout: float,
) -> Engine:
    config = EngineConfig(
        schedule=SCHEDULE,
        zero_stage=zero_stage,
        precision=precision,
        betas=(0.9, 0.95),
        eps=1e-8,
        weight_decay=0.1,
        gradient_clipping=1.0,
        num_sources=2,
        micro_batch={LENGTH: micro_batch},
    )
    with loading(config):
        model = load_model(
            model_dir, POSITIONS, 512, config.dtype, "sdpa", activation_checkpointing=False
        )
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = dropout
    model.train()
    engine = Engine(CausalLMLoss(model, 100), config)
    verify(engine.model, POSITIONS)
    return engine


def save(engine: Engine, store: Store) -> None:
    rank, world_size = dist.get_rank(), dist.get_world_size()
    checkpoints = Checkpoints(store, "runs/x")
    checkpoints.own("attempt")
    saver = Saver(checkpoints, rank, world_size, "attempt", 1, None)
    saver.start(engine.fragments(), CheckpointFacts(engine.update_count, engine.steps, "order"))
    saved = saver.wait()
    assert saved is not None
    assert saved.failure is None, saved


def too_much(engine: Engine) -> Any:
    """From now on a gradient is infinite; what this returns can be removed."""
    (name, norm), *_ = [item for item in engine.model.named_parameters() if "norm" in item[0]]
    assert norm.requires_grad, name
    return norm.register_hook(lambda gradient: gradient * float("inf"))


def never(_: float) -> bool:
    return False


def load(engine: Engine, store: Store) -> None:
    found = Checkpoints(store, "runs/x").latest()
    assert found is not None
    read_parts(store, found.parts, engine.fragments())
    engine.continue_from(found.facts.update, found.facts.steps)


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    what = (
        options.model,
        options.zero_stage,
        options.micro_batch,
        options.precision,
        options.dropout,
    )
    engine = build(*what)
    stats = []
    for update in range(UPDATES):
        if options.save and update == 3:
            save(engine, Store(options.save))
        if options.load and update == 0:
            load(engine, Store(options.load))
        if update < engine.update_count:
            continue
        hook = too_much(engine) if options.overflow == update and rank == 0 else None
        accepts = math.isfinite if options.refuse != update else never
        batch = batch_of(update, rank, world_size, WEIGHTS.get(options.weights))
        stats.append(engine.update(batch, accepts))
        if hook:
            hook.remove()
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
        options.out.write_text(json.dumps(result))
    dist.destroy_process_group()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("zero_stage", type=int, choices=(1, 2, 3))
    parser.add_argument("micro_batch", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--overflow", type=int, help="an update of which a gradient is infinite")
    parser.add_argument("--refuse", type=int, help="an update of which the loss is not accepted")
    parser.add_argument("--weights", choices=WEIGHTS, help="of tokens; all count the same if unset")
    parser.add_argument("--dropout", type=float, default=0.0, help="in attention")
    parser.add_argument("--save", metavar="FOLDER", help="a checkpoint after three updates")
    parser.add_argument("--load", metavar="FOLDER", help="begin from that checkpoint")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(parse())
    os._exit(0)  # See `longspan.train.standalone`.
