"""Sample records in the store: `samples/<task>.parquet`, the same bytes whenever and however they were made."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pyarrow as pa

from longspan.evaluate.results import SampleRecord
from longspan.generate.tables import each_row, write_rows
from longspan.storage import Store

RECORDS = pa.schema(
    [
        ("id", pa.string()),
        ("request", pa.string()),
        ("task", pa.string()),
        ("length", pa.int64()),
        ("index", pa.int64()),
        ("depth", pa.float64()),
        ("cluster", pa.string()),
        ("references", pa.list_(pa.large_string())),
        ("reply", pa.large_string()),
        ("score", pa.float64()),
        ("problem", pa.string()),
        ("truncated", pa.bool_()),
        ("prompt_tokens", pa.int64()),
        ("reply_tokens", pa.int64()),
        ("prompt_head", pa.large_string()),
        ("prompt_tail", pa.large_string()),
        ("evidence", pa.list_(pa.list_(pa.int64()))),
        ("evidence_text", pa.large_string()),
    ]
)
"""Columns of `SampleRecord`."""


def write_records(store: Store, folder: str, records: Iterable[SampleRecord]) -> None:
    """Write an object for each task, in the order of length and index."""
    by_task: dict[str, list[SampleRecord]] = {}
    for record in records:
        by_task.setdefault(record.task, []).append(record)
    for task, found in by_task.items():
        found.sort(key=lambda record: (record.length, record.index))
        rows = [record.model_dump() for record in found]
        write_rows(store, records_path(folder, task), rows, RECORDS)


def read_records(store: Store, folder: str, task: str) -> list[SampleRecord]:
    """Return the records of a task, in the order of length and index.

    Raises:
        FileNotFoundError: there are none.
        UserError: the object is not what `write_records` wrote.
    """
    return [SampleRecord.model_validate(row) for row in each_row(store, records_path(folder, task))]


def delete_other_records(store: Store, folder: str, tasks: Collection[str]) -> None:
    """Delete the records of all tasks but some."""
    kept = {records_path(folder, task) for task in tasks}
    for item in store.list(f"{folder}/samples/*.parquet"):
        if item.path not in kept:
            store.delete(item.path)


def records_path(folder: str, task: str) -> str:
    """Return the path of a task's records in the folder of an evaluation."""
    return f"{folder}/samples/{task}.parquet"
