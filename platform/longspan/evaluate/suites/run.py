"""Suites, task by task: results, and the score of each question for paired comparisons."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longspan.errors import UserError
from longspan.evaluate.results import SuiteResult
from longspan.evaluate.suites.answers import Answers
from longspan.evaluate.suites.files import local_files, local_folder
from longspan.evaluate.suites.library import Library
from longspan.evaluate.suites.model import SuiteModel
from longspan.evaluate.suites.presets import tasks_of
from longspan.evaluate.suites.prompts import PromptEncoder
from longspan.evaluate.suites.quiet import quiet
from longspan.evaluate.suites.schema import PromptCut, Suite, SuiteTask
from longspan.evaluate.suites.scores import (
    Settings,
    SuiteSample,
    renamed,
    reported,
    results_of,
    samples_of,
)
from longspan.evaluate.suites.settings import Files

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.tasks.manager import TaskDict

    from longspan.evaluate.suites.language_model import LanguageModel
    from longspan.generate.progress import Log
    from longspan.storage import Store

SEED = 1234
"""Of the choice of solved examples, and of what tasks draw; the harness' default."""


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


@dataclass(frozen=True)
class Runnable:
    """A task of the harness, ready to be run.

    Attributes:
        prepared: what it is made of.
        loaded: task, or group with its tasks.
        lm: answers its requests.
        metrics: that are reported; empty: all.
        cuts: how prompts may be shortened, by task.
    """

    prepared: Prepared
    loaded: TaskDict
    lm: LanguageModel
    metrics: frozenset[str]
    cuts: Mapping[str, PromptCut]

    @property
    def limit(self) -> int | None:
        """First questions of each task that are asked; None: all."""
        return self.prepared.task.limit or self.prepared.suite.limit


def run_suites(suites: Sequence[Suite], model: SuiteModel, workspace: Workspace) -> SuiteRun:
    """Run suites on a model; requests of all tasks are asked together.

    Each task's prompts are the same whatever other tasks there are, and the first questions are the same whatever the
    limit. What was answered by an earlier run of the same model is not asked again.

    Raises:
        UserError: a task, its settings or its data are wrong, which is found out before anything is asked; or the
            model cannot be reached.
    """
    prepared = [each for suite in suites for each in prepare(suite, workspace)]
    answers, encoder = Answers(model), PromptEncoder(model.tokenizer)
    with quiet():
        runnable = [_load(each, answers, encoder) for each in prepared]
        for each in runnable:
            each.lm.gather(_requests(each, model.chat))
    answers.ask(workspace.store, workspace.log)
    run = SuiteRun()
    for each in runnable:
        with quiet():
            own = _evaluate(each, model.chat)
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


def _load(prepared: Prepared, answers: Answers, encoder: PromptEncoder) -> Runnable:
    from longspan.evaluate.suites.language_model import LanguageModel

    task, library = prepared.task, prepared.library
    loaded = library.load(task, prepared.files)
    cuts = {leaf: cut for leaf in loaded["tasks"] if (cut := library.cut(task, leaf))}
    lm = LanguageModel(answers, encoder, cuts)
    return Runnable(prepared, loaded, lm, _required_metrics(loaded, task), cuts)


def _requests(runnable: Runnable, chat: bool) -> list[Instance]:
    """Requests that the harness will make when the task is evaluated."""
    found: list[Instance] = []
    _seed(runnable.loaded)
    for task in runnable.loaded["tasks"].values():
        task.build_all_requests(
            limit=runnable.limit,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
            chat_template=runnable.lm.apply_chat_template if chat else None,
        )
        found += task.instances
        task._instances = None  # They hold all prompts, and are made anew.
    return found


def _evaluate(runnable: Runnable, chat: bool) -> SuiteRun:
    from lm_eval.evaluator import evaluate

    loaded, lm, metrics = runnable.loaded, runnable.lm, runnable.metrics
    _seed(loaded)
    found = evaluate(
        lm,
        loaded,
        limit=runnable.limit,
        bootstrap_iters=0,  # Intervals are by cluster, and ours.
        log_samples=True,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
        confirm_run_unsafe_code=True,  # Only tasks that run it in a sandbox come as far as here.
    )
    assert found is not None
    of_leaves = [
        sample
        for leaf in loaded["tasks"]
        for sample in samples_of(leaf, found, lm.tallies[leaf], metrics)
    ]
    samples = renamed(of_leaves, reported(found))
    settings = Settings(runnable.prepared.suite.name, runnable.limit, runnable.cuts)
    return SuiteRun(results_of(settings, found, lm.tallies, samples), samples)


def _seed(loaded: TaskDict) -> None:
    """Make the prompts of tasks depend on nothing that was done before in this process."""
    import numpy as np

    random.seed(SEED)
    np.random.seed(SEED)
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(SEED)


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
