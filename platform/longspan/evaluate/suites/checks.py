"""Suites against their task files and data, before anything starts.

Task files of this package and of the user are looked at; those of lm-evaluation-harness, whose index takes seconds, are
left to `longspan.evaluate.suites.load`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from longspan.errors import UserError
from longspan.evaluate.suites.files import local_folder, stored_files
from longspan.evaluate.suites.library import Library
from longspan.evaluate.suites.presets import tasks_of
from longspan.evaluate.suites.schema import Suite, SuiteTask
from longspan.evaluate.suites.settings import GENERATE, Config, settings_over
from longspan.storage import Need, Store

DEFAULT_FILTER = "none"
"""Name of the harness' filter of a task file without `filter_list`."""


def check_suites(suites: Sequence[Suite], store: Store, folder: Path, likelihoods: bool) -> None:
    """Check tasks, settings, data and metrics of suites; data is not read.

    Args:
        suites: of a recipe.
        store: that their paths are of.
        folder: of this machine, for copies of task files.
        likelihoods: whether the model tells likelihoods; an endpoint does not.

    Raises:
        UserError: a task, its settings or its data are wrong.
    """
    for suite in suites:
        library = open_library(suite, store, folder)
        for task in tasks_of(suite):
            if library.is_own(task.task):
                _check(suite, task, library, store, likelihoods)
            elif task.files:
                stored_files(task, task.task, suite.data, store)
        if suite.data is not None and not store.list(suite.data, limit=1):
            raise UserError(
                f"suites.data: {store.uri(suite.data)} has no files; put those of the suite's tasks there "
                "(<task>/<split>.jsonl), or correct the path"
            )


def suite_needs(suites: Sequence[Suite]) -> list[Need]:
    """Return what suites do with the store: they read data and task files."""
    found = []
    for suite in suites:
        if suite.data is not None:
            found.append(Need("read", f"{suite.data.rstrip('/')}/**", "suites.data"))
        found += [Need("read", f"{path}/**", "suites.include") for path in suite.include]
        for task in tasks_of(suite):
            for paths in task.files.values():
                each = [paths] if isinstance(paths, str) else paths
                found += [Need("read", path, "suites.tasks.files") for path in each]
    return found


def open_library(suite: Suite, store: Store, folder: Path) -> Library:
    """Return the task files that a suite can name.

    Raises:
        UserError: a folder of `include` is not there.
    """
    include = tuple(local_folder(store, path, folder) for path in suite.include)
    return Library(include, folder / "suites" / suite.name)


def data_of(
    suite: Suite, task: SuiteTask, library: Library, store: Store
) -> dict[str, dict[str, list[str]]]:
    """Return the paths in the store of a task's data, by member of a group and by split.

    Raises:
        UserError: there is no such task, its data is not there, or it would run programs that it may not.
    """
    leaves = library.leaves(task.task)
    if task.files and len(leaves) > 1:
        raise UserError(
            f"suites.tasks.files: {task.task!r} is a group of {len(leaves)} tasks; use `data`, a folder per task"
        )
    for leaf in leaves:
        _require_safe(library.config(leaf), leaf, suite)
    return {leaf: stored_files(task, leaf, suite.data, store) for leaf in leaves}


def require_metrics(task: SuiteTask, known: Collection[str]) -> None:
    """Check the metrics that a recipe asks for.

    Raises:
        UserError: the task does not have one of them.
    """
    for metric in task.metrics:
        if metric not in known:
            raise UserError(
                f"suites.tasks.metrics: task {task.task!r} has no metric {metric!r}; it has {', '.join(sorted(known))}"
            )


def require_generated(kind: str, leaf: str) -> None:
    """Refuse a task that an endpoint can't be asked.

    Args:
        kind: its `output_type`.
        leaf: its name.

    Raises:
        UserError: it compares likelihoods.
    """
    if kind != GENERATE:
        raise UserError(
            f"suites.tasks.task: task {leaf!r} compares likelihoods of given answers ({kind}), which an endpoint does "
            "not tell; evaluate the model itself (without endpoint), or leave the task out"
        )


def _check(
    suite: Suite, task: SuiteTask, library: Library, store: Store, likelihoods: bool
) -> None:
    known: set[str] = set()
    files = data_of(suite, task, library, store)
    for leaf, own in files.items():
        config = library.config(leaf)
        settings_over(task, leaf, config, own, library.folder)
        known |= _metrics(config)
        if not likelihoods:
            require_generated(config.get("output_type", GENERATE), leaf)
    # A task file without a list has the harness' metrics for its kind.
    if all(library.config(leaf).get("metric_list") for leaf in files):
        require_metrics(task, known)


def _metrics(config: Config) -> set[str]:
    """Names of a task file's metrics, alone and with each of its filters."""
    filters = [each["name"] for each in config.get("filter_list") or [{"name": DEFAULT_FILTER}]]
    names = [str(each["metric"]) for each in config.get("metric_list") or ()]
    return {*names, *(f"{name},{filter}" for name in names for filter in filters)}


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
