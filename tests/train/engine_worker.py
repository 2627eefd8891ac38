"""Training of the tiny model for a few updates, for each of several cases; rank 0 writes the results.

`main` runs on each rank: the cases are in FOLDER/cases.json, the results in FOLDER/results.json, in the same order,
and checkpoints beside them.
"""

from __future__ import annotations

import gc
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from pydantic import TypeAdapter
from torch.autograd.graph import save_on_cpu
from torch.distributed import distributed_c10d
from transformers import modeling_utils

from longspan.ingest.marks import marked
from longspan.model.export import ExportSpec, rehearse_export
from longspan.model.load import load_model, offload_activations
from longspan.model.loss import CausalLMLoss
from longspan.model.positions import Positions, verify
from longspan.model.tiling import tile_mlps
from longspan.storage import Store
from longspan.stream.batch import Batch, TokenWeights, collate, rank_share
from longspan.stream.row import Row
from longspan.train.checkpoint import CheckpointFacts, Checkpoints
from longspan.train.engine import Engine, EngineConfig, loading
from longspan.train.parts import read_parts
from longspan.train.saver import Saver
from longspan.train.schedule import CosineSchedule

ROWS, LENGTH, UPDATES = 5, 64, 6
TILE = 20
"""Tokens of a tile of the MLP, which divide neither a row nor two."""
POSITIONS = Positions("abf", 50_000.0, 2.0, 256)
WEIGHTS = {
    "per_token": TokenWeights((0.25, 0.0)),
    "per_sequence": TokenWeights((0.25, 0.0), per_sequence=True),
}
SCHEDULE = CosineSchedule(peak=1e-2, final=1e-3, warmup_updates=2, total_updates=UPDATES)


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        zero_stage: DeepSpeed's.
        workers: how many processes.
        micro_batch: rows at a time.
        precision: of the model.
        weights: of tokens, by their name in `WEIGHTS`; all count the same without one.
        dropout: in attention.
        overflow: an update of which a gradient is infinite.
        refuse: an update of which the loss is not accepted.
        saves: whether there is a checkpoint after three updates.
        loads: the case whose checkpoint it begins from.
        savers: memory savers by the names of :class:`longspan.plan.savers.Savers`.
    """

    zero_stage: Literal[1, 2, 3]
    workers: int
    micro_batch: int = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    weights: str = ""
    dropout: float = 0.0
    overflow: int | None = None
    refuse: int | None = None
    saves: bool = False
    loads: Case | None = None
    savers: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [f"zero{self.zero_stage}", f"{self.workers}-workers", f"micro{self.micro_batch}"]
        words += [self.precision, self.weights, f"dropout{self.dropout:g}" * bool(self.dropout)]
        words += ["overflow"] * (self.overflow is not None) + ["refuse"] * (self.refuse is not None)
        words += self.savers
        words += ["saves"] * self.saves + [f"from-{self.loads}"] * (self.loads is not None)
        return "-".join(word for word in words if word)


CASES = TypeAdapter(list[Case])


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


def build(model_dir: Path, case: Case) -> Engine:
    config = EngineConfig(
        schedule=SCHEDULE,
        zero_stage=case.zero_stage,
        precision=case.precision,
        betas=(0.9, 0.95),
        eps=1e-8,
        weight_decay=0.1,
        gradient_clipping=1.0,
        num_sources=2,
        micro_batch={LENGTH: case.micro_batch},
        offload_optimizer="offload_optimizer" in case.savers,
        offload_parameters="offload_parameters" in case.savers,
    )
    with loading(config):
        model = load_model(
            model_dir, POSITIONS, 512, config.dtype, "sdpa", activation_checkpointing=False
        )
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = case.dropout
    if "offload_activations" in case.savers:
        offload_activations(model)
    if "tiled_mlp" in case.savers:
        tile_mlps(model, TILE)
    model.train()
    engine = Engine(CausalLMLoss(model, 100), config)
    verify(engine.model, POSITIONS)
    # As before a run: neither may change a number of it.
    engine.require_own_losses(document_mask=True)
    if dist.get_rank() == 0:
        inner = engine.model.model
        rehearse_export(inner, model_dir, ExportSpec(inner.config, POSITIONS, 512, config.dtype))
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


def train(model_dir: Path, folder: Path, case: Case) -> dict[str, Any]:
    """What happened; the weights' names and norm on rank 0 only."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    PACKED.clear()
    engine = build(model_dir, case)
    if case.loads:
        load(engine, Store(str(folder / str(case.loads))))
    stats = []
    for update in range(engine.update_count, UPDATES):
        if case.saves and update == 3:
            save(engine, Store(str(folder / str(case))))
        hook = too_much(engine) if case.overflow == update and rank == 0 else None
        accepts = math.isfinite if case.refuse != update else never
        batch = batch_of(update, rank, world_size, WEIGHTS.get(case.weights))
        stats.append(engine.update(batch, accepts))
        if hook:
            hook.remove()
    heldout = engine.token_losses(batch_of(UPDATES - 1, rank, world_size)).sum(dtype=torch.float64)
    dist.all_reduce(heldout)
    weights = engine.state_dict() or {}
    norm = sum(float(tensor.double().square().sum()) for tensor in weights.values()) ** 0.5
    return {
        "stats": [vars(s) for s in stats],
        "heldout": heldout.item(),
        "norm": norm,
        "names": sorted(weights),
        "packed": PACKED,
    }


PACKED: list[tuple[int, ...]] = []
"""Shapes of the tensors that were offloaded in forward passes of this rank, by case."""


class UnpinnedSaveOnCpu(save_on_cpu):
    """The hooks that transformers offloads activations with, for a CPU, which has no pinned memory."""

    def __init__(self, pin_memory: bool, device_type: str) -> None:
        assert pin_memory, "on a GPU the copies are to be asynchronous"
        super().__init__(pin_memory=False, device_type=device_type)
        pack = self.pack_hook

        def record(tensor: torch.Tensor) -> Any:
            PACKED.append(tuple(tensor.shape))
            return pack(tensor)

        self.pack_hook = record


def refuse_pickles() -> None:
    """From now on the ranks fail where they, or DeepSpeed, would read another rank's pickle."""

    def refuse(*_: Any) -> None:
        raise AssertionError("a rank would read a pickle")

    vars(distributed_c10d)["_tensor_to_object"] = refuse


def main(model_dir: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    assert callable(distributed_c10d._tensor_to_object)
    refuse_pickles()
    vars(modeling_utils)["save_on_cpu"] = UnpinnedSaveOnCpu
    dist.init_process_group("gloo")
    results = []
    for case in CASES.validate_json((folder / "cases.json").read_bytes()):
        results.append(train(model_dir, folder, case))
        gc.collect()  # DeepSpeed's engine refers to itself: it would stay beside the next one.
    if dist.get_rank() == 0:
        (folder / "results.json").write_text(json.dumps(results))
    dist.destroy_process_group()
