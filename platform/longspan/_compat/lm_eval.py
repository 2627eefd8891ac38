"""Private interfaces of lm-eval 0.4: task files, and what a loaded task holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_task_file(path: str | Path) -> dict[str, Any]:
    """Return the content of a task file with its includes, functions as their names.

    The public `TaskManager` resolves functions, which runs code that may load data from the hub.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    return load_yaml(path, resolve_func=False)


def filter_names(task: Any) -> list[str]:
    """Return the names of a task's filters, which are part of its metrics' names in results.

    The public configuration lacks the filter that a task without any gets.
    """
    return [ensemble.name for ensemble in task._filters]


def discard_requests(task: Any) -> None:
    """Free the requests that a task has built; it builds them anew when it is evaluated.

    The public property `instances` cannot be set.
    """
    task._instances = None
