"""A run made by hand: its files in a store, with checkpoints of a tiny model whose weights depend on the update."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from longspan.model.export import ExportSpec, write_model_files
from longspan.model.load import load_model
from longspan.model.positions import Positions
from longspan.storage import Store, sealed
from longspan.train.checkpoint.checkpoints import Checkpoint, CheckpointFacts, Checkpoints
from longspan.train.checkpoint.export import WRAPPER
from longspan.train.checkpoint.fragments import MASTER, Fragment
from longspan.train.checkpoint.rank_files import write_part
from longspan.train.checkpoint.run_record import RunRecord, save_buffers, write_run_record
from longspan.train.identity import PositionsIdentity

POSITIONS = Positions("abf", 50_000.0, 2.0, 256)
WINDOW = 512
RANKS = 3


class MadeRun:
    """The run ``runs/<name>`` of a model in a store."""

    def __init__(self, store: Store, model_dir: Path, name: str = "made") -> None:
        """Nothing is written yet."""
        self.store, self.model_dir, self.path = store, model_dir, f"runs/{name}"
        self.checkpoints = Checkpoints(store, self.path)
        self.model = load_model(model_dir, POSITIONS, WINDOW, torch.float32, "sdpa", False)
        self.record = RunRecord(
            name=name,
            base_model=str(model_dir),
            base_window=256,
            window=WINDOW,
            positions=PositionsIdentity(encoding="abf", base=POSITIONS.base),
            precision="bf16",
            updates=40,
        )

    @property
    def spec(self) -> ExportSpec:
        """How the job would export its model."""
        return ExportSpec(self.model.config, POSITIONS, WINDOW, torch.bfloat16)

    def start(self, spec: ExportSpec | None = None) -> None:
        """Write what a job writes before its first update."""
        with tempfile.TemporaryDirectory() as folder:
            write_model_files(self.model, self.model_dir, spec or self.spec, Path(folder))
            save_buffers(self.model, Path(folder))
            write_run_record(self.store, self.path, self.record, Path(folder))

    def masters(self, update: int) -> dict[str, torch.Tensor]:
        """Float32 weights after so many updates, by the model's names."""
        generator = torch.Generator().manual_seed(update)
        return {
            name: torch.randn(parameter.shape, generator=generator)
            for name, parameter in self.model.named_parameters()
        }

    def save(self, update: int, attempt_id: str = "first") -> Checkpoint:
        """Commit a checkpoint; each parameter is divided among three ranks."""
        folder = f"{self.checkpoints.folder(update)}/{attempt_id}.1"
        parts = []
        with tempfile.TemporaryDirectory() as staging:
            for rank in range(RANKS):
                file = Path(staging) / f"part-{rank:05d}.safetensors"
                fragments = list(_fragments(self.masters(update), rank))
                parts.append(write_part(fragments, file, f"{folder}/{file.name}"))
            self.store.upload(staging, folder)
        checkpoint = Checkpoint(CheckpointFacts(update, update, "order"), tuple(parts))
        self.checkpoints.commit(checkpoint)
        return checkpoint

    def finish(self) -> None:
        """Write what says that the final model is exported."""
        self.store.write_bytes(
            f"{self.path}/exported.json", sealed.dumps({"updates": self.record.updates})
        )


def _fragments(masters: dict[str, torch.Tensor], rank: int) -> list[Fragment]:
    found = []
    for name, tensor in masters.items():
        pieces = tensor.flatten().tensor_split(RANKS)
        start = sum(map(len, pieces[:rank]))
        found.append(Fragment(f"{WRAPPER}{name}", start, {MASTER: pieces[rank].clone()}))
    return found


def add_buffer(model: nn.Module) -> torch.Tensor:
    """Give the model a tensor that is no parameter; returns it."""
    buffer = torch.tensor([0.1, 0.7])
    model.register_buffer("routing_bias", buffer)
    return buffer
