"""Files of a run that describe its model: with them a checkpoint becomes a model, without the job or the base model.

    runs/<name>/run.json        the record, written last
    runs/<name>/model-files/    config.json, generation_config.json, the tokenizer: an export without its weights
                                buffers.safetensors: tensors of the model that no checkpoint holds, if it has any

The job writes them at each start, before its first update.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from longspan.config.section import Section
from longspan.errors import UserError
from longspan.storage import Store, sealed
from longspan.train.identity import PositionsIdentity

if TYPE_CHECKING:
    import torch
    from torch import nn

    from longspan.train.job import Job

SCHEMA_VERSION = 1
RECORD = "run.json"
MODEL_FILES = "model-files"
BUFFERS = "buffers.safetensors"


class RunRecord(Section):
    """A run's model, as far as it does not change while it is trained."""

    schema_version: int = SCHEMA_VERSION
    name: str
    base_model: str
    """Absolute folder, s3:// address, or hub name with its commit."""
    base_window: int
    """Tokens of the base model's window."""
    window: int
    """Tokens of the trained model's window."""
    positions: PositionsIdentity
    precision: Literal["bf16", "fp32"]
    """Data type of the exported weights."""
    updates: int
    """Optimizer updates of the whole run."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each of the model's files, by its path."""


def record_of(job: Job) -> RunRecord:
    """Return the record of a job; `write_run_record` fills in the files."""
    plan = job.plan
    return RunRecord(
        name=job.recipe.name,
        base_model=job.recipe.base_model,
        base_window=plan.original.original_window,
        window=plan.window,
        positions=PositionsIdentity(encoding=plan.positions.encoding, base=plan.positions.base),
        precision=plan.precision,
        updates=plan.updates,
    )


def write_run_record(store: Store, run_path: str, record: RunRecord, model_files: Path) -> None:
    """Store a run's record, with the files of its model.

    Args:
        store: where to.
        run_path: folder of the run in the store.
        record: of the run.
        model_files: local folder that `longspan.model.export.write_model_files` has filled.
    """
    files = {name: _sha256(file) for name, file in _files(model_files)}
    data = sealed.dumps(record.model_copy(update={"files": files}).model_dump(mode="json"))
    with suppress(FileNotFoundError):
        # Of an earlier start; somebody may be reading the files.
        if store.read_bytes(f"{run_path}/{RECORD}") == data:
            return
    store.upload(model_files, f"{run_path}/{MODEL_FILES}")
    store.write_bytes(f"{run_path}/{RECORD}", data)


def read_run_record(store: Store, run_path: str) -> RunRecord:
    """Return the record of a run.

    Raises:
        UserError: there is no such run, an earlier version of the code has begun it, or a newer one.
    """
    uri = store.uri(run_path)
    try:
        value = sealed.read(store, f"{run_path}/{RECORD}")
    except FileNotFoundError:
        if not store.exists(run_path):
            raise UserError(f"run: there is no run in {uri}; give the folder of a run") from None
        raise UserError(
            f"run: {uri} has no {RECORD}: the run has not begun to train yet, or an earlier version of Longspan "
            "began it; submit its job again to write the file (a finished run is left as it is)"
        ) from None
    except sealed.Damaged as error:
        raise UserError(
            f"run: {uri}/{RECORD} is damaged ({error}); submit its job again to write it anew"
        ) from None
    if value["schema_version"] > SCHEMA_VERSION:
        raise UserError(
            f"run: {uri}/{RECORD} was written by a newer version of Longspan (schema version "
            f"{value['schema_version']}, this one reads up to {SCHEMA_VERSION}); use that version"
        )
    return RunRecord.model_validate(value)


def fetch_model_files(store: Store, run_path: str, record: RunRecord, folder: Path) -> None:
    """Copy the files of a run's model to a local folder.

    Raises:
        UserError: they are not what the record says.
    """
    store.download(f"{run_path}/{MODEL_FILES}", folder)
    found = {name: _sha256(file) for name, file in _files(folder)}
    if found != record.files:
        name = min(dict(found.items() ^ record.files.items()))
        raise UserError(
            f"run: {store.uri(run_path)}/{MODEL_FILES}/{name} is not what the run's job has written; submit its job "
            "again to write it anew"
        )


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder with its path there, sorted."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def save_buffers(model: nn.Module, folder: Path) -> None:
    """Write the model's tensors that are no parameters, in their own data types; no file if it has none."""
    from safetensors.torch import save_file

    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    buffers = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in model.state_dict(keep_vars=True).items()
        if name not in parameters
    }
    if buffers:
        save_file(buffers, folder / BUFFERS)


def load_buffers(folder: Path) -> dict[str, torch.Tensor]:
    """Inverse of `save_buffers`."""
    from safetensors.torch import load_file

    file = folder / BUFFERS
    return load_file(file) if file.is_file() else {}
