"""Suites, task by task: results, and the score of each question for paired comparisons."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longspan.errors import UserError
from longspan.evaluate.results import SuiteResult
from longspan.evaluate.suites.files import local_files, local_folder
from longspan.evaluate.suites.library import Library
from longspan.evaluate.suites.model import SuiteModel
from longspan.evaluate.suites.presets import tasks_of
from longspan.evaluate.suites.schema import Suite, SuiteTask
from longspan.evaluate.suites.scores import SuiteSample, results_of, samples_of
from longspan.evaluate.suites.settings import Files

if TYPE_CHECKING:
    from lm_eval.tasks.manager import TaskDict

    from longspan.generate.progress import Log
    from longspan.storage import Store

SEED = 1234


@dataclass(frozen=True)
class SuiteRun:
    """Outcome of suites.

    Attributes:
        results: by suite, task and metric; a result without a value is invalid (see `SuiteResult`).
        samples: score of each question by each metric.
    """

    results: list[SuiteResult] = field(default_factory=list)
    samples: list[SuiteSample] = field(default_factory=list)


@dataclass(frozen=True)
class Workspace:
    """Where suites read and write.

    Attributes:
        store: holds data and task files, and keeps replies.
        folder: of this machine, for copies of the data and tables made of it.
        log: takes lines on the progress.
    """

    store: Store
    folder: Path
    log: Log


@dataclass(frozen=True)
class Prepared:
    """A task that is known to exist, with its data on this machine.

    Attributes:
        suite: it is part of.
        task: as the recipe has it.
        library: of task files.
        files: data by task (of a group) and split.
    """

    suite: Suite
    task: SuiteTask
    library: Library
    files: Mapping[str, Files]


def run_suites(suites: Sequence[Suite], model: SuiteModel, workspace: Workspace) -> SuiteRun:
    """Run suites on a model, one task after another.

    Each task's prompts are the same whatever other tasks there are, and the first questions are the same whatever the
    limit. What was answered by an earlier run of the same model is not asked again.

    Raises:
        UserError: a task, its settings or its data are wrong, which is found out before anything is asked, as far as
            that is possible; or the model cannot be reached.
    """
    run = SuiteRun()
    for prepared in [each for suite in suites for each in prepare(suite, workspace)]:
        own = _run_task(prepared, model, workspace)
        run.results.extend(own.results)
        run.samples.extend(own.samples)
    return run


def prepare(suite: Suite, workspace: Workspace) -> list[Prepared]:
    """Find the tasks of a suite and fetch their data.

    Raises:
        UserError: see `run_suites`.
    """
    store, folder = workspace.store, workspace.folder
    include = tuple(local_folder(store, path, folder) for path in suite.include)
    library = Library(include, folder / "suites" / suite.name)
    found = []
    for task in tasks_of(suite):
        leaves = library.leaves(task.task)
        if task.files and len(leaves) > 1:
            raise UserError(
                f"suites.tasks.files: {task.task!r} is a group of {len(leaves)} tasks; use `data`, a folder per task"
            )
        for leaf in leaves:
            _require_safe(library.config(leaf), leaf, suite)
        files = {leaf: local_files(task, leaf, suite.data, store, folder) for leaf in leaves}
        library.write(task, files)
        found.append(Prepared(suite, task, library, files))
    return found


def _run_task(prepared: Prepared, model: SuiteModel, workspace: Workspace) -> SuiteRun:
    from longspan.evaluate.suites.language_model import LanguageModel

    suite, task, library = prepared.suite, prepared.task, prepared.library
    loaded = library.load(task, prepared.files)
    metrics = _required_metrics(loaded, task)
    cuts = {leaf: cut for leaf in loaded["tasks"] if (cut := library.cut(task, leaf))}
    lm = LanguageModel(model, workspace.store, f"suite {task.task}", workspace.log, cuts)
    found = _evaluate(lm, loaded, task.limit or suite.limit, model.chat)
    samples = [
        sample
        for leaf in loaded["tasks"]
        for sample in samples_of(leaf, found, lm.tallies[leaf], metrics)
    ]
    results = results_of(suite.name, found, lm.tallies, samples, metrics)
    return SuiteRun(results, samples)


def _evaluate(lm: Any, loaded: TaskDict, limit: int | None, chat: bool) -> Mapping[str, Any]:
    """Run the harness; none of its defaults that depend on the state of the process is in use."""
    import numpy as np
    from lm_eval.evaluator import evaluate

    # Some tasks draw from these while they make prompts.
    random.seed(SEED)
    np.random.seed(SEED)
    found = evaluate(
        lm,
        loaded,
        limit=limit,
        bootstrap_iters=0,  # Intervals are by cluster, and ours.
        log_samples=True,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        confirm_run_unsafe_code=True,  # Only tasks that run it in a sandbox come as far as here.
    )
    assert found is not None
    return found


def _require_safe(config: Mapping[str, Any], leaf: str, suite: Suite) -> None:
    metadata = config.get("metadata") or {}
    if metadata.get("sandboxed") and not suite.allow_code_execution:
        raise UserError(
            f"suites.allow_code_execution: task {leaf!r} runs programs that the model wrote, in a sandbox; "
            "set it to true to allow that"
        )
    if config.get("unsafe_code") and not metadata.get("sandboxed"):
        raise UserError(
            f"suites.tasks.task: task {leaf!r} would run programs that the model wrote in this process; "
            f"use '{leaf}_sandboxed' if there is one, or leave the task out"
        )


def _required_metrics(loaded: TaskDict, task: SuiteTask) -> frozenset[str]:
    """Check the metrics that a recipe asks for before anything is generated; empty: all."""
    known = {key for each in loaded["tasks"].values() for key in _metrics(each)}
    for metric in task.metrics:
        if metric not in known:
            raise UserError(
                f"suites.tasks.metrics: task {task.task!r} has no metric {metric!r}; "
                f"it has {', '.join(sorted(known))}"
            )
    return frozenset(task.metrics)


def _metrics(task: Any) -> Iterator[str]:
    for metric in task.aggregation():
        for ensemble in task._filters:
            yield metric
            yield f"{metric},{ensemble.name}"
