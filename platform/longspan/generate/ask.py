"""One stage of generation: ask for what is missing, with progress, and commit the records in parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longspan.errors import UserError, user_error_in
from longspan.generate.generators import EngineGenerator, TextGenerator
from longspan.generate.parts import PartWriter
from longspan.generate.progress import Log, Progress
from longspan.generate.requests import RETRIED, FailureKind, RequestSource, Row
from longspan.storage import Store

if TYPE_CHECKING:
    import pyarrow as pa

UNANSWERED = 50
"""Requests in a row without any answer, after which the endpoint is given up."""


@dataclass(frozen=True)
class Stage:
    """Requests to make, and where their records go.

    Attributes:
        job: name of the kind of job, which its metrics bear (`longspan_<job>_requests`).
        name: of the stage, in progress lines, metrics and dashboards.
        source: makes requests and records.
        items: what to make requests of, in this order.
        requests: number of requests that they make.
        folder: of the records in the store.
        schema: of the records; other columns of a record are not kept.
        work: of all requests together, in units of `weight`; None: as many as requests.
        weight: work of a record, which the time left is estimated by; each counts as one if None.
        retried: failures that are not recorded, so that the next run makes these requests again.
    """

    job: str
    name: str
    source: RequestSource
    items: Sequence[Row]
    requests: int
    folder: str
    schema: pa.Schema
    work: float | None = None
    weight: Callable[[Row], float] | None = None
    retried: Set[FailureKind] = RETRIED


def ask(stage: Stage, generator: TextGenerator, store: Store, log: Log) -> list[Row]:
    """Make the requests of a stage, and commit the records.

    Returns:
        Records of requests that were not answered: they are not committed, so that the next run makes them again.

    Raises:
        UserError: the endpoint refuses every request, or does not answer any more; or the engine died.
    """
    if not stage.requests:
        return []
    is_engine = isinstance(generator, EngineGenerator)
    starts = "; the engine starts, which takes a while" if is_engine else ""
    log(f"{stage.name}: {stage.requests:,} requests{starts}")
    try:
        return _asked(stage, generator, store, log)
    except Exception as error:
        if not is_engine or not _is_of_ray(error) or user_error_in(error):
            raise
        raise UserError(_engine_died(generator.setting, error)) from error


def _asked(stage: Stage, generator: TextGenerator, store: Store, log: Log) -> list[Row]:
    from longspan.generate.meter import RequestMeter

    progress = Progress(stage.name, stage.requests, log, stage.work, stage.weight)
    meter = RequestMeter(stage.job, stage.name)
    writer = PartWriter(store, stage.folder, stage.schema)
    unanswered: list[Row] = []
    in_a_row = 0
    try:
        for rows in generator.records(stage.items, stage.source, stage.name):
            if not rows:
                continue
            writer.add([row for row in rows if row["failure"] not in stage.retried])
            if denied := next((row for row in rows if row["failure"] == "denied"), None):
                raise UserError(denied["message"])
            unanswered += [row for row in rows if row["failure"] in stage.retried]
            # An engine that fails at some requests is there all the same.
            is_silent = all(row["failure"] == "unanswered" for row in rows)
            in_a_row = in_a_row + len(rows) if is_silent else 0
            if in_a_row >= min(UNANSWERED, stage.requests):
                raise UserError(
                    f"{generator.setting}: the last {in_a_row} requests got no answer "
                    f"({rows[-1]['message']}); re-run the same command to resume"
                )
            progress.add(rows)
            meter.add(rows)
    finally:
        writer.close()
    return unanswered


def _is_of_ray(error: Exception) -> bool:
    import ray

    return isinstance(error, ray.exceptions.RayError)


def _engine_died(setting: str, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        f"{setting}: the engine died, and so did those that were started in its place "
        f"({type(error).__name__}: {(lines or ['no reason given'])[-1][:300]}); its own message is in "
        "the logs of its workers in Ray's dashboard. Replies so far are kept: re-run the same command to resume"
    )
