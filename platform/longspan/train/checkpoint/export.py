"""A committed checkpoint as a Hugging Face folder: ``longspan export RUN --to FOLDER``.

Needs neither the job nor its workers, which may go on meanwhile: weights are the fp32 masters of the checkpoint's
parts, everything else are files of the run (:mod:`longspan.train.checkpoint.run_record`).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from longspan.errors import UserError
from longspan.storage import Store, sealed
from longspan.train.checkpoint.checkpoints import Checkpoint, Checkpoints
from longspan.train.checkpoint.rank_files import DamagedPart, read_parts
from longspan.train.checkpoint.run_record import fetch_model_files, load_buffers, read_run_record

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from longspan.model.export import ExportSpec

WRAPPER = "model."
"""Prefix of parameters' names in checkpoints: that of the model in `longspan.model.loss.CausalLMLoss`."""


class UnusableCheckpoint(UserError):
    """A checkpoint cannot be exported; another one of the run may be."""


class CheckpointDeleted(UnusableCheckpoint):
    """There is no such checkpoint, or not any more: a run deletes old ones when it has newer ones."""


class CheckpointDamaged(UnusableCheckpoint):
    """A checkpoint is not what was written."""


def export_checkpoint(store: Store, run_path: str, update: int, folder: str | Path) -> Path:
    """Write the model of a committed checkpoint, with tokenizer and configs, to a local folder, and verify it.

    The files are the same, bit for bit, that the job would export after this update. Memory: the model once, in the
    data type of the export. Disk: the largest part, if the store is on S3, and the model.

    Args:
        store: of the run.
        run_path: folder of the run in the store.
        update: updates done at the checkpoint.
        folder: replaced if it exists.

    Raises:
        CheckpointDeleted: there is no such checkpoint, or it was deleted while it was read.
        CheckpointDamaged: its record or a part of it is not what was written.
        UserError: the run does not have what describes its model, or the store can't be reached.
    """
    record = read_run_record(store, run_path)
    checkpoints = Checkpoints(store, run_path)
    checkpoint = _read(checkpoints, update)
    with tempfile.TemporaryDirectory(prefix="longspan-checkpoint-export-") as temporary:
        files = Path(temporary)
        fetch_model_files(store, run_path, record, files)
        return _export(checkpoints, checkpoint, files, record.precision, Path(folder))


def _export(
    checkpoints: Checkpoints, checkpoint: Checkpoint, files: Path, precision: str, folder: Path
) -> Path:
    from longspan.model.export import export_model, meta_model

    spec = _spec(files, precision)
    model = meta_model(spec.config, spec.dtype)
    try:
        weights = read_weights(checkpoints.store, checkpoint, model)
    except (DamagedPart, FileNotFoundError) as error:
        update = checkpoint.facts.update
        if update not in checkpoints.committed():
            raise _deleted(checkpoints, update) from None
        raise CheckpointDamaged(
            f"update: the checkpoint after {update:,} updates: {error}"
        ) from error
    return export_model({**load_buffers(files), **weights}, files, spec, folder)


def read_weights(
    store: Store, checkpoint: Checkpoint, model: PreTrainedModel
) -> dict[str, torch.Tensor]:
    """Return the weights of a checkpoint by their names in the model, in its data type, on the CPU.

    Args:
        store: of the run.
        checkpoint: a committed one.
        model: of the run, for names, shapes and data types; may be on the meta device.

    Raises:
        DamagedPart: a part is missing, or not what was written.
        UserError: the checkpoint is of another model.
    """
    import torch

    from longspan.train.checkpoint.fragments import MASTER, Fragment

    shapes = {name: tensor.shape for name, tensor in model.named_parameters()}
    _require_parameters(checkpoint, shapes)
    # Each whole parameter is one fragment: fp32 masters are rounded as they are copied into it.
    fragments = [
        Fragment(f"{WRAPPER}{name}", 0, {MASTER: torch.empty(tensor.numel(), dtype=tensor.dtype)})
        for name, tensor in model.named_parameters()
    ]
    read_parts(store, checkpoint.parts, fragments)
    return {
        name: fragment.tensors[MASTER].view(shape)
        for (name, shape), fragment in zip(shapes.items(), fragments, strict=True)
    }


def _require_parameters(checkpoint: Checkpoint, shapes: Mapping[str, torch.Size]) -> None:
    found: dict[str, int] = {}
    for part in checkpoint.parts:
        for name, (_, elements) in part.spans.items():
            found[name] = found.get(name, 0) + elements
    expected = {f"{WRAPPER}{name}": shape.numel() for name, shape in shapes.items()}
    if found != expected:
        name = min(dict(found.items() ^ expected.items()))
        raise UserError(
            f"run: the checkpoint has {found.get(name, 0):,} elements of {name}, the run's model "
            f"{expected.get(name, 0):,}; the files in the run's folder are of another model"
        )


def _spec(files: Path, precision: str) -> ExportSpec:
    """How the model is written; positions are those that the run's config states."""
    import torch
    from transformers import GenerationConfig

    from longspan.model.export import ExportSpec
    from longspan.model.load import load_config
    from longspan.model.positions import own_positions

    config = load_config(files)
    window = config.max_position_embeddings
    generation = (files / "generation_config.json").is_file()
    return ExportSpec(
        config,
        own_positions(config.rope_parameters, window),
        window,
        torch.bfloat16 if precision == "bf16" else torch.float32,
        GenerationConfig.from_pretrained(files) if generation else None,
    )


def _read(checkpoints: Checkpoints, update: int) -> Checkpoint:
    try:
        return checkpoints.read(update)
    except FileNotFoundError:
        raise _deleted(checkpoints, update) from None
    except sealed.Damaged as error:
        where = checkpoints.store.uri(checkpoints.folder(update))
        raise CheckpointDamaged(f"update: the record of {where} is damaged: {error}") from None


def _deleted(checkpoints: Checkpoints, update: int) -> CheckpointDeleted:
    there = ", ".join(f"{each:,}" for each in sorted(checkpoints.committed())) or "none"
    return CheckpointDeleted(
        f"update: the run has no checkpoint after {update:,} updates (any more); checkpoints: {there}"
    )


def run_of(address: str, endpoint: str | None) -> tuple[Store, str]:
    """Store and path of a run by its address.

    Args:
        address: folder of a run, or its s3:// address; ends in runs/<name>.
        endpoint: URL of an S3 server other than AWS.

    Raises:
        UserError: it ends in something else.
    """
    path = address.rstrip("/")
    if not path.startswith("s3://"):
        path = str(Path(path).absolute())
    root, runs, name = path.rpartition("/runs/")
    if not runs or not name or "/" in name:
        raise UserError(
            f"RUN: {address!r} is not a run's folder; give one that ends in runs/<name>"
        )
    return Store(root or "/", endpoint=endpoint), f"runs/{name}"


if __name__ == "__main__":
    from longspan.cli.entry import run_module
    from longspan.cli.runs import export

    sys.exit(run_module(export, "python -m longspan.train.checkpoint.export"))
