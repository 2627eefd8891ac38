"""Training of the tiny model for a few updates, for each of several cases; rank 0 writes the results.

`main` runs on each rank: the cases are in FOLDER/cases.json, the results in FOLDER/results.json, in the same order,
and checkpoints beside them.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist
from pydantic import TypeAdapter
from safetensors.torch import save_file
from torch.autograd.graph import save_on_cpu
from torch.distributed import distributed_c10d
from transformers import AttentionInterface, modeling_utils

from longspan.errors import UserError
from longspan.model.export import ExportSpec, rehearse_export
from longspan.model.load import load_model, offload_activations
from longspan.model.loss import CausalLMLoss
from longspan.model.positions import Positions, verify
from longspan.model.tiled_norms import tile_norms
from longspan.model.tiling import tile_mlps
from longspan.parallel.groups import SequenceGroup, join_sequence_group
from longspan.parallel.ulysses import SharedRows, install
from longspan.shards.loss_mask import marked
from longspan.storage import Store
from longspan.stream.batch import Batch, TokenWeights, collate, rank_share
from longspan.stream.row import Row
from longspan.train import deepspeed_setup
from longspan.train import engine as engine_module
from longspan.train.checkpoint.async_save import Saver
from longspan.train.checkpoint.checkpoints import CheckpointFacts, Checkpoints
from longspan.train.checkpoint.export import read_weights
from longspan.train.checkpoint.fragments import MASTER
from longspan.train.checkpoint.rank_files import read_parts
from longspan.train.deepspeed_setup import loading
from longspan.train.engine import Engine
from longspan.train.engine_config import EngineConfig
from longspan.train.learning_rate import CosineSchedule
from tests import varlen

ROWS, LENGTH, UPDATES = 5, 64, 6
MICRO_BATCHES = 16
"""Rows of each rank where the error of an accumulated gradient is measured, one at a time."""
TILE = 20
"""Tokens of a tile of the MLP, which divide neither a row nor two."""
POSITIONS = Positions("abf", 50_000.0, 2.0, 256)
WEIGHTS = {
    "per_token": TokenWeights((0.25, 0.0)),
    "per_sequence": TokenWeights((0.25, 0.0), per_sequence=True),
}
FROZEN = ("embed_tokens", "layers.0.", "model.norm")
"""Parts of the names of parameters that are not trained where a case says so."""
SCHEDULE = CosineSchedule(peak=1e-2, final=1e-3, warmup_updates=2, total_updates=UPDATES)


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        zero_stage: DeepSpeed's.
        workers: how many processes.
        micro_batch: rows at a time.
        precision: of the model.
        communication: data type in which gradients are summed over the ranks.
        bf16_gradients: whether gradients accumulate in bf16, as in earlier versions.
        measures_gradient: whether the error of an accumulated gradient is measured; nothing is trained then.
        weights: of tokens, by their name in `WEIGHTS`; all count the same without one.
        dropout: in attention.
        overflow: an update of which a gradient is infinite.
        refuse: an update of which the loss is not accepted.
        saves: whether there is a checkpoint after three updates.
        loads: the case whose checkpoint it begins from.
        degree: how many workers share a row.
        heads: of the model; with four it has two key-value heads, with two one.
        checkpointing: whether activations are recomputed.
        kernel: of attention; "flash" is a plain implementation of what FlashAttention does.
        forgets: whether attention is told of one document per row where there are three.
        savers: memory savers by the names of :class:`longspan.plan.savers.Savers`.
        frozen: whether the parameters of `FROZEN` are not trained.
    """

    zero_stage: Literal[1, 2, 3]
    workers: int
    micro_batch: int = 1
    degree: int = 1
    heads: Literal[2, 4] = 2
    checkpointing: bool = False
    kernel: Literal["sdpa", "flash"] = "sdpa"
    forgets: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    communication: Literal["fp32", "bf16"] = "fp32"
    bf16_gradients: bool = False
    measures_gradient: bool = False
    weights: str = ""
    dropout: float = 0.0
    overflow: int | None = None
    refuse: int | None = None
    saves: bool = False
    loads: Case | None = None
    savers: tuple[str, ...] = ()
    frozen: bool = False

    def __str__(self) -> str:
        words = [f"zero{self.zero_stage}", f"{self.workers}-workers", f"micro{self.micro_batch}"]
        words += [f"degree{self.degree}"] * (self.degree > 1)
        words += [f"{self.heads}-heads"] * (self.heads != 2) + ["recompute"] * self.checkpointing
        words += ["flash"] * (self.kernel == "flash") + ["forgets"] * self.forgets
        words += [self.precision, self.weights, f"dropout{self.dropout:g}" * bool(self.dropout)]
        words += ["bf16-sent"] * (self.communication == "bf16")
        words += ["bf16-gradients"] * self.bf16_gradients
        words += ["gradient"] * self.measures_gradient
        words += ["overflow"] * (self.overflow is not None) + ["refuse"] * (self.refuse is not None)
        words += self.savers
        words += ["frozen"] * self.frozen
        words += ["saves"] * self.saves + [f"from-{self.loads}"] * (self.loads is not None)
        return "-".join(word for word in words if word)


CASES = TypeAdapter(list[Case])


def rows_of(update: int, num_rows: int = ROWS) -> list[Row]:
    """A global batch, by default one that no number of workers but 1 and 5 divides; three documents in each row."""
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
        for i in range(num_rows)
    ]


def with_answers(row: Row) -> Row:
    """The row as one of conversations: some of its tokens are answers'."""
    answers = np.random.default_rng(row.index).random(LENGTH) < 0.3
    return replace(row, tokens=marked(row.tokens, answers))


def batch_of(
    update: int,
    index: int,
    count: int,
    weights: TokenWeights | None = None,
    num_rows: int = ROWS,
) -> Batch:
    """The rows of one of ``count`` groups."""
    rows = [with_answers(row) if weights else row for row in rows_of(update, num_rows)]
    mine, share = rank_share(num_rows, index, count)
    chosen = [rows[i] for i in mine]
    return collate(update, chosen, share, LENGTH, document_mask=True, weights=weights)


def build(model_dir: Path, case: Case, group: SequenceGroup) -> Engine:
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
        communication_data_type=case.communication,
        offload_optimizer="offload_optimizer" in case.savers,
        offload_parameters="offload_parameters" in case.savers,
        headwise_attention="headwise_attention" in case.savers,
    )
    offloads = "offload_activations" in case.savers
    recomputes = case.checkpointing or "activation_checkpointing" in case.savers
    with loading(config):
        model = load_model(
            model_dir, POSITIONS, 512, config.dtype, "sdpa", recomputes and not offloads
        )
    if case.kernel == "flash":
        # Without the package, transformers would not load a model with it.
        AttentionInterface.register("flash_attention_2", varlen.attend)
        model.config._attn_implementation = "flash_attention_2"
    if case.degree > 1 or config.headwise_attention:
        install(model.config._attn_implementation)
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = case.dropout
    if offloads:
        offload_activations(model)
    if "tiled_mlp" in case.savers:
        tile_mlps(model, TILE)
        tile_norms(model, TILE)
    if case.frozen:
        freeze(model)
    model.train()
    with ExitStack() as stack:
        if case.bf16_gradients:
            stack.enter_context(as_before_fp32_gradients())
        engine = Engine(CausalLMLoss(model, 100), config, group)
    verify(engine.model, POSITIONS)
    # As before a run: neither may change a number of it.
    if not case.forgets:
        engine.require_own_losses(document_mask=True)
    if dist.get_rank() == 0 and case.kernel == "sdpa":
        inner = engine.model.model
        rehearse_export(inner, model_dir, ExportSpec(inner.config, POSITIONS, 512, config.dtype))
    return engine


def freeze(model: torch.nn.Module) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(part in name for part in FROZEN))


def forget_frozen(engine: Engine) -> None:
    """Overwrite the parameters that are not trained, so that only a checkpoint has their values."""
    for parameter in engine.model.parameters():
        if not parameter.requires_grad:
            getattr(parameter, "ds_tensor", parameter).data.fill_(7.0)


def is_whole(engine: Engine, model_dir: Path, checkpoint: Store) -> bool:
    """Whether the weights in a checkpoint are the engine's, and those that are not trained the model's own; all ranks
    call it."""
    weights = engine.state_dict()
    if weights is None:
        return True
    found = Checkpoints(checkpoint, "runs/x").latest()
    assert found is not None
    model = load_model(model_dir, POSITIONS, 512, engine.config.dtype, "sdpa", False)
    stored, own = read_weights(checkpoint, found, model), dict(model.named_parameters())
    freeze(model)
    return all(
        torch.equal(tensor, weights[name])
        and (own[name].requires_grad or torch.equal(tensor, own[name]))
        for name, tensor in stored.items()
    )


@contextmanager
def as_before_fp32_gradients() -> Iterator[None]:
    """Engines are built with the DeepSpeed configuration of earlier versions, which had no data types."""
    current = deepspeed_setup.deepspeed_config

    def before(config: EngineConfig) -> dict[str, Any]:
        told = current(config)
        del told["data_types"], told["communication_data_type"]
        del told["zero_optimization"]["reduce_scatter"]
        return told

    with (
        patch.object(deepspeed_setup, "deepspeed_config", before),
        patch.object(engine_module, "require_gradient_types", lambda *_: None),
    ):
        yield


def save_masters(engine: Engine, path: Path) -> str:
    """Write the fp32 masters of all parameters, however they are divided, to a file; all ranks call it."""
    sizes = {
        name: getattr(parameter, "ds_numel", parameter.numel())
        for name, parameter in engine.model.named_parameters()
    }
    masters = torch.zeros(sum(sizes.values()))
    of_name = dict(zip(sizes, masters.split(list(sizes.values())), strict=True))
    for fragment in engine.fragments():
        place = of_name[fragment.name].narrow(0, fragment.start, fragment.elements)
        place.copy_(fragment.tensors[MASTER])
    dist.all_reduce(masters)  # Each element is in one rank's fragments, and zero on the others.
    if dist.get_rank() == 0:
        save_file({name: master.clone() for name, master in of_name.items()}, path)
    return str(path)


def gradient_error(model_dir: Path, case: Case, group: SequenceGroup) -> float:
    """Relative L2 error of the gradient that DeepSpeed accumulates over `MICRO_BATCHES` of each rank.

    It is compared with the fp64 sum of the micro-batches' own gradients, as backward yields them.
    """
    from deepspeed.utils import safe_get_full_grad

    engine, world_size = build(model_dir, case, group), dist.get_world_size()
    sums: dict[str, torch.Tensor] = {}
    for name, parameter in engine.model.named_parameters():

        def add(gradient: torch.Tensor, name: str = name) -> None:
            assert gradient.dtype == engine.config.dtype
            sums[name] = sums.get(name, 0) + gradient.double()

        parameter.register_hook(add)
    batch = batch_of(0, group.index, group.count, num_rows=MICRO_BATCHES * world_size)
    engine._accumulate_gradients(batch, float((batch.labels != -100).sum()), math.isfinite)
    error = total = 0.0
    for name, parameter in engine.model.named_parameters():
        dist.all_reduce(sums[name])
        expected = sums[name] / world_size
        accumulated = safe_get_full_grad(parameter).double()
        error += float((accumulated - expected).square().sum())
        total += float(expected.square().sum())
    return (error / total) ** 0.5


def save(engine: Engine, store: Store) -> None:
    rank, world_size = dist.get_rank(), dist.get_world_size()
    checkpoints = Checkpoints(store, "runs/x")
    checkpoints.acquire_lease("attempt")
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


@contextmanager
def forgotten_documents() -> Iterator[None]:
    """Within the block attention takes every shared row for one document."""
    told = SharedRows.from_positions

    def one_document_per_row(
        group: SequenceGroup, positions: torch.Tensor, headwise: bool = False
    ) -> SharedRows:
        return told(group, torch.arange(positions.shape[1]).repeat(len(positions), 1), headwise)

    with patch.object(SharedRows, "from_positions", one_document_per_row):
        yield


def refusal(engine: Engine) -> str:
    """Why a run would not begin with this engine."""
    try:
        engine.require_own_losses(document_mask=True)
    except UserError as error:
        return str(error)
    return ""


def never(_: float) -> bool:
    return False


def load(engine: Engine, store: Store) -> None:
    found = Checkpoints(store, "runs/x").latest()
    assert found is not None
    forget_frozen(engine)
    read_parts(store, found.parts, engine.fragments())
    engine.continue_from(found.facts.update, found.facts.steps)


def train(model_dir: Path, folder: Path, case: Case, group: SequenceGroup) -> dict[str, Any]:
    """Statistics of each update, the weights' names and norm (on rank 0), and files of fp32 masters.

    The files are of bf16: masters as "read" from and "written" to checkpoints of earlier versions, and the "last".
    """
    if case.measures_gradient:
        return {"error": gradient_error(model_dir, case, group)}
    rank = dist.get_rank()
    PACKED.clear()
    engine = build(model_dir, case, group)
    refused = refusal(engine) if case.forgets else ""
    if case.loads:
        load(engine, Store(str(folder / str(case.loads))))
    stats, masters, whole = [], {}, None
    if case.loads and case.loads.bf16_gradients:
        masters["read"] = save_masters(engine, folder / f"{case}.read")
    for update in range(engine.update_count, UPDATES):
        if case.saves and update == 3:
            if case.bf16_gradients:
                masters["written"] = save_masters(engine, folder / f"{case}.written")
            save(engine, Store(str(folder / str(case))))
            whole = case.frozen and is_whole(engine, model_dir, Store(str(folder / str(case))))
        hook = too_much(engine) if case.overflow == update and rank == 0 else None
        accepts = math.isfinite if case.refuse != update else never
        batch = batch_of(update, group.index, group.count, WEIGHTS.get(case.weights))
        stats.append(engine.update(batch, accepts))
        if hook:
            hook.remove()
    if case.precision == "bf16":
        masters["last"] = save_masters(engine, folder / f"{case}.last")
    rows = batch_of(UPDATES - 1, group.index, group.count)
    heldout = engine.token_losses(rows).sum(dtype=torch.float64) * group.is_first
    dist.all_reduce(heldout)
    weights = engine.state_dict() or {}
    norm = sum(float(tensor.double().square().sum()) for tensor in weights.values()) ** 0.5
    return {
        "stats": [vars(s) for s in stats],
        "heldout": heldout.item(),
        "norm": norm,
        "masters": masters,
        "names": sorted(weights),
        "refused": refused,
        "packed": PACKED,
        "whole": whole,
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


def main(models: Mapping[int, Path], folder: Path) -> None:
    """Be a rank; ``models`` are by number of heads."""
    torch.set_num_threads(1)
    assert callable(distributed_c10d._tensor_to_object)
    refuse_pickles()
    vars(modeling_utils)["save_on_cpu"] = UnpinnedSaveOnCpu
    dist.init_process_group("gloo")
    results = []
    groups: dict[int, SequenceGroup] = {}
    for case in CASES.validate_json((folder / "cases.json").read_bytes()):
        if case.degree not in groups:
            groups[case.degree] = join_sequence_group(case.degree)
        with forgotten_documents() if case.forgets else nullcontext():
            results.append(train(models[case.heads], folder, case, groups[case.degree]))
        gc.collect()  # DeepSpeed's engine refers to itself: it would stay beside the next one.
    if dist.get_rank() == 0:
        (folder / "results.json").write_text(json.dumps(results))
    dist.destroy_process_group()
