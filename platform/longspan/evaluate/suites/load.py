"""Tasks of suites, loaded with their data before any model is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longspan._compat.lm_eval import filter_names
from longspan.evaluate.suites.checks import (
    data_of,
    open_library,
    require_generated,
    require_metrics,
)
from longspan.evaluate.suites.files import local_files
from longspan.evaluate.suites.library import Library
from longspan.evaluate.suites.presets import tasks_of
from longspan.evaluate.suites.quiet import quiet
from longspan.evaluate.suites.schema import PromptCut, Suite, SuiteTask
from longspan.evaluate.suites.settings import GENERATE

if TYPE_CHECKING:
    from lm_eval.tasks.manager import TaskDict

    from longspan.generate.progress import Log
    from longspan.storage import Store


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
class LoadedTask:
    """A task of a suite with its data; any number of models can be asked it.

    Attributes:
        suite: it is part of.
        task: as the recipe has it.
        loaded: task of the harness, or group with its tasks.
        cuts: how prompts may be shortened, by name of task.
    """

    suite: Suite
    task: SuiteTask
    loaded: TaskDict
    cuts: dict[str, PromptCut]

    @property
    def metrics(self) -> frozenset[str]:
        """Metrics that are reported; empty: all."""
        return frozenset(self.task.metrics)

    @property
    def limit(self) -> int | None:
        """First questions of each task that are asked; None: all."""
        return self.task.limit or self.suite.limit


def load_suites(
    suites: Sequence[Suite], workspace: Workspace, likelihoods: bool
) -> list[LoadedTask]:
    """Load the tasks of suites with their data.

    Args:
        suites: of a recipe.
        workspace: where their data is.
        likelihoods: whether the model tells likelihoods; an endpoint does not.

    Raises:
        UserError: a task, its settings or its data are wrong.
    """
    if not suites:
        return []
    with quiet():
        return [
            _loaded(suite, task, library, workspace, likelihoods)
            for suite in suites
            for library in [open_library(suite, workspace.store, workspace.folder)]
            for task in tasks_of(suite)
        ]


def _loaded(
    suite: Suite, task: SuiteTask, library: Library, workspace: Workspace, likelihoods: bool
) -> LoadedTask:
    store, folder = workspace.store, workspace.folder
    stored = data_of(suite, task, library, store)
    files = {leaf: local_files(own, store, folder) for leaf, own in stored.items()}
    loaded = library.load(task, files)
    tasks = loaded["tasks"]
    require_metrics(task, {metric for each in tasks.values() for metric in _metrics(each)})
    if not likelihoods:
        for leaf, each in tasks.items():
            require_generated(each.OUTPUT_TYPE or GENERATE, leaf)
    cuts = {leaf: cut for leaf in tasks if (cut := library.cut(task, leaf))}
    return LoadedTask(suite, task, loaded, cuts)


def _metrics(task: Any) -> Iterator[str]:
    for metric in task.aggregation():
        for name in filter_names(task):
            yield metric
            yield f"{metric},{name}"
