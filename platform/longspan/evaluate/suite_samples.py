"""Scores of single questions of standard suites in the store: `suite_samples.parquet`."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from longspan.evaluate.suites.scores import SuiteSample
from longspan.generate.tables import each_row, write_rows
from longspan.storage import Store

SUITE_SAMPLES = "suite_samples.parquet"
"""Name of the object in the folder of an evaluation."""
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("task", pa.string()),
        ("metric", pa.string()),
        ("cluster", pa.string()),
        ("score", pa.float64()),
        ("reply", pa.large_string()),
        ("problem", pa.string()),
        ("is_prompt_truncated", pa.bool_()),
        ("is_cut_off", pa.bool_()),
    ]
)
"""Columns: the attributes of `SuiteSample`."""


def write_suite_samples(store: Store, folder: str, samples: Iterable[SuiteSample]) -> None:
    """Write the scores of all questions, by task, metric and question; equal samples give equal bytes."""
    ordered = sorted(samples, key=lambda sample: (sample.task, sample.metric, sample.id))
    write_rows(store, f"{folder}/{SUITE_SAMPLES}", [vars(sample) for sample in ordered], SCHEMA)


def read_suite_samples(store: Store, path: str) -> list[SuiteSample]:
    """Return the scores of all questions, by task, metric and question.

    Raises:
        FileNotFoundError: there is no such object.
        UserError, TypeError, pyarrow.ArrowException: the object is not what `write_suite_samples` wrote.
    """
    return [SuiteSample(**row) for row in each_row(store, path)]
