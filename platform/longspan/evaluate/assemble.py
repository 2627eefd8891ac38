"""Results of an evaluation from what was measured of each model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from longspan.evaluate.aggregate import TaskInfo, compare, task_result
from longspan.evaluate.ask import Asked
from longspan.evaluate.comparison import compare_suites
from longspan.evaluate.losses.measure import Losses, loss_changes
from longspan.evaluate.models import EvaluatedModel
from longspan.evaluate.prepare import Prepared
from longspan.evaluate.provenance import model_info, provenance
from longspan.evaluate.results import (
    Comparison,
    ReportedEngine,
    Results,
    SampleRecord,
    TaskResult,
)
from longspan.evaluate.samples import ProbeSource, Task
from longspan.evaluate.suites.run import SuiteRun


@dataclass(frozen=True)
class Measured:
    """Measurements of one model.

    Attributes:
        model: which.
        probes: records of its samples, and what was left out.
        losses: on held-out documents; None if there are none.
        suites: results of standard suites.
        reported: the model as its engines, or the endpoint, report it.
    """

    model: EvaluatedModel
    probes: Asked = field(default_factory=Asked)
    losses: Losses | None = None
    suites: SuiteRun = field(default_factory=SuiteRun)
    reported: list[ReportedEngine] = field(default_factory=list)


def results_of(
    prepared: Prepared, tasks: Sequence[Task], source: ProbeSource, measured: Sequence[Measured]
) -> Results:
    """Return the results of what was measured, without a verdict.

    Args:
        prepared: the evaluation.
        tasks: all probes.
        source: what their samples were made from.
        measured: of the model, and of the reference if there is one.
    """
    recipe, own = prepared.recipe, measured[0]
    other = measured[1] if len(measured) > 1 else Measured(own.model)
    reported = {each.model.key: each.reported for each in measured if each.reported}
    infos = [model_info(prepared, each.model, source.format.hash) for each in measured]
    return Results(
        name=recipe.name,
        model=infos[0],
        reference=infos[1] if len(infos) > 1 else None,
        tasks=task_results(tasks, own.probes.records, recipe.seed),
        left_out=own.probes.left_out,
        reference_tasks=task_results(tasks, other.probes.records, recipe.seed),
        losses=own.losses.results(recipe.seed) if own.losses else [],
        reference_losses=other.losses.results(recipe.seed) if other.losses else [],
        suites=own.suites.results,
        reference_suites=other.suites.results,
        comparison=_comparison(own, other, recipe.seed) if len(measured) > 1 else None,
        provenance=provenance(prepared, source.documents, _engine(prepared), reported),
    )


def task_results(
    tasks: Sequence[Task], records: Sequence[SampleRecord], seed: int
) -> list[TaskResult]:
    """Return the scores of all tasks that have samples, in the order of the tasks."""
    grouped = by_task(records)
    infos = [TaskInfo(task.name, task.version, task.family, task.scoring) for task in tasks]
    return [task_result(info, grouped[info.name], seed) for info in infos if info.name in grouped]


def by_task(records: Sequence[SampleRecord]) -> dict[str, list[SampleRecord]]:
    """Return records by the names of their tasks."""
    grouped: dict[str, list[SampleRecord]] = {}
    for record in records:
        grouped.setdefault(record.task, []).append(record)
    return grouped


def _comparison(own: Measured, other: Measured, seed: int) -> Comparison:
    # At lengths beyond the reference's window there is nothing to compare with.
    lengths = {record.length for record in other.probes.records}
    records = [record for record in own.probes.records if record.length in lengths]
    changes = loss_changes(own.losses, other.losses, seed) if own.losses and other.losses else []
    return Comparison(
        model=own.model.name,
        reference=other.model.name,
        differences=[
            *compare(records, other.probes.records, seed),
            *compare_suites(own.suites.samples, other.suites.samples, seed),
        ],
        loss_changes=changes,
    )


def _engine(prepared: Prepared) -> dict[str, Any]:
    """Arguments of the engine that answers, or the endpoint's address."""
    endpoint = prepared.recipe.endpoint
    if endpoint:
        return {"endpoint": endpoint.url, "model": endpoint.model}
    return {
        "engine": "vllm",
        "max_model_len": prepared.lengths[-1],
        **prepared.recipe.engine.arguments,
    }
