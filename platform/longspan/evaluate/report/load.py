"""Stored evaluations: `results.json` and the scores and losses beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from longspan.errors import UserError
from longspan.evaluate.losses.stored import (
    CONTEXT_LOSSES,
    StoredLosses,
    read_context_losses,
)
from longspan.evaluate.results import SCHEMA_VERSION, Results, SampleRecord
from longspan.evaluate.suite_samples import SUITE_SAMPLES, read_suite_samples
from longspan.evaluate.suites.scores import SuiteSample
from longspan.generate.tables import each_row
from longspan.storage import Store

RESULTS, SAMPLES = "results.json", "samples"
Content = TypeVar("Content")


@dataclass(frozen=True)
class StoredEvaluation:
    """One evaluation as it was written.

    Attributes:
        results: of its `results.json`.
        samples: of its probes, by task.
        suites: scores of single questions of standard suites.
        losses: by context; None: there are none.
    """

    results: Results
    samples: dict[str, list[SampleRecord]] = field(default_factory=dict)
    suites: list[SuiteSample] = field(default_factory=list)
    losses: StoredLosses | None = None

    @property
    def can_be_paired(self) -> bool:
        """Whether there is anything but results."""
        return bool(self.samples or self.suites or self.losses)


def load_evaluation(store: Store, path: str) -> StoredEvaluation:
    """Read an evaluation; samples of tasks that are not in its results are left out.

    Args:
        store: what relative paths are relative to.
        path: the folder of an evaluation, or its `results.json`.

    Raises:
        UserError: a file cannot be read as what it should be.
    """
    results, folder = load_results(store, path), results_path(path).removesuffix(RESULTS)
    tasks = {task.task for task in results.tasks}
    samples = {task: own for task, own in load_samples(store, path).items() if task in tasks}
    return StoredEvaluation(
        results,
        samples,
        _read_if_there(read_suite_samples, store, f"{folder}{SUITE_SAMPLES}") or [],
        _read_if_there(read_context_losses, store, f"{folder}{CONTEXT_LOSSES}"),
    )


def load_results(store: Store, path: str) -> Results:
    """Read the results of an evaluation.

    Args:
        store: what relative paths are relative to.
        path: the folder of an evaluation, or its `results.json`.

    Raises:
        UserError: there is none, it is no results file, or of another version of the schema.
    """
    path = results_path(path)
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
    folder = results_path(path).removesuffix(RESULTS)
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
    try:
        with _explained(store, path, "samples"):
            return [SampleRecord.model_validate(row) for row in each_row(store, path)]
    except FileNotFoundError:
        raise UserError(
            f"{store.uri(path)}: there is no such file; give samples of an evaluation"
        ) from None


def results_path(path: str) -> str:
    """Return the path of an evaluation's results.

    Args:
        path: it, or the folder that it is in.
    """
    return path if path.endswith(RESULTS) else f"{path.rstrip('/')}/{RESULTS}"


def _read_if_there(
    read: Callable[[Store, str], Content], store: Store, path: str
) -> Content | None:
    try:
        with _explained(store, path, "scores or losses"):
            return read(store, path)
    except FileNotFoundError:
        return None


@contextmanager
def _explained(store: Store, path: str, content: str) -> Iterator[None]:
    """Say of a file that does not hold what it should."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{store.uri(path)}: holds no {content} of an evaluation ({(str(error).splitlines() or [''])[0]}); "
            "evaluate again to write it anew"
        ) from None


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
