"""Stored evaluations: `results.json` and the samples beside it."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from longspan.errors import UserError
from longspan.evaluate.results import SCHEMA_VERSION, Results, SampleRecord
from longspan.generate.tables import each_row
from longspan.storage import Store

RESULTS, SAMPLES = "results.json", "samples"


def load_results(store: Store, path: str) -> Results:
    """Read the results of an evaluation.

    Args:
        store: what relative paths are relative to.
        path: the folder of an evaluation, or its `results.json`.

    Raises:
        UserError: there is none, it is no results file, or of another version of the schema.
    """
    path = _results_path(path)
    name = store.uri(path)
    try:
        stored = json.loads(store.read_bytes(path))
    except FileNotFoundError:
        raise UserError(
            f"{name}: there is no such file; give the folder of an evaluation, or its {RESULTS}"
        ) from None
    except ValueError as error:
        raise UserError(
            f"{name}: is no JSON ({error}); give the {RESULTS} of an evaluation"
        ) from None
    _require_version(name, stored)
    try:
        return Results.model_validate(stored)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{name}: is damaged at {where} ({first['msg']}); evaluate again to write it anew"
        ) from None


def load_samples(store: Store, path: str) -> dict[str, list[SampleRecord]]:
    """Read the samples beside the results of an evaluation, by task, in the order of their length and index.

    Args:
        store: what relative paths are relative to.
        path: the folder of an evaluation, or its `results.json`.

    Raises:
        UserError: a file cannot be read as samples.
    """
    folder = _results_path(path).removesuffix(RESULTS)
    samples = {}
    for item in store.list(f"{folder}{SAMPLES}/*.parquet"):
        task = item.path.rpartition("/")[2].removesuffix(".parquet")
        samples[task] = sorted(
            read_sample_file(store, item.path), key=lambda r: (r.length, r.index)
        )
    return samples


def read_sample_file(store: Store, path: str) -> list[SampleRecord]:
    """Read one file of samples.

    Raises:
        UserError: it is not there, or cannot be read as samples.
    """
    import pyarrow as pa

    try:
        return [SampleRecord.model_validate(row) for row in each_row(store, path)]
    except FileNotFoundError:
        raise UserError(
            f"{store.uri(path)}: there is no such file; give samples of an evaluation"
        ) from None
    except (pa.ArrowException, ValueError) as error:
        raise UserError(
            f"{store.uri(path)}: holds no samples of an evaluation ({str(error).splitlines()[0]}); "
            "evaluate again to write it anew"
        ) from None


def _results_path(path: str) -> str:
    return path if path.endswith(RESULTS) else f"{path.rstrip('/')}/{RESULTS}"


def _require_version(name: str, stored: Any) -> None:
    version = stored.get("schema_version") if isinstance(stored, dict) else None
    if version is None:
        raise UserError(
            f"{name}: has no schema_version, so that it is no results file; give the {RESULTS} of an evaluation"
        )
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{name}: has schema_version {version!r}, this version of longspan reads {SCHEMA_VERSION}; "
            "read it with the version that wrote it, or evaluate again"
        )
