"""Suites of the paper: tasks, examples, and metrics of its tables."""

from __future__ import annotations

from importlib import resources

import yaml

from longspan.errors import UserError
from longspan.evaluate.suites.schema import Preset, Suite, SuiteTask


def preset_tasks(preset: Preset) -> list[SuiteTask]:
    """Return the tasks of a preset."""
    text = resources.files("longspan.evaluate.suites").joinpath("presets.yaml").read_text()
    return [SuiteTask.model_validate(task) for task in yaml.safe_load(text)[preset]]


def tasks_of(suite: Suite) -> list[SuiteTask]:
    """Return the tasks of a suite: those of its preset that are not left out, and its own.

    Raises:
        UserError: it leaves out a task that its preset has not.
    """
    preset = preset_tasks(suite.preset) if suite.preset else []
    if unknown := sorted(set(suite.without) - {task.task for task in preset}):
        raise UserError(
            f"suites.without: {unknown[0]!r} is no task of preset {suite.preset!r}; "
            f"it has {', '.join(task.task for task in preset) or 'none'}"
        )
    return [*(task for task in preset if task.task not in suite.without), *suite.tasks]
