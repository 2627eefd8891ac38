"""All probes by name, and named groups of them."""

from __future__ import annotations

from collections.abc import Iterable

from longspan.errors import UserError
from longspan.evaluate.probes import (
    association,
    counting,
    first_sentence,
    graph_walks,
    key_value,
    many_shot,
    needle,
    passkey,
    stories,
    tracing,
)
from longspan.evaluate.samples import Task

MODULES: tuple[tuple[Task, ...], ...] = (
    needle.TASKS,
    tracing.TASKS,
    counting.TASKS,
    key_value.TASKS,
    first_sentence.TASKS,
    passkey.TASKS,
    association.TASKS,
    stories.TASKS,
    graph_walks.TASKS,
    many_shot.TASKS,
)
TASKS: dict[str, Task] = {task.name: task for tasks in MODULES for task in tasks}
GROUPS: dict[str, tuple[str, ...]] = {
    "ruler": tuple(name for name in TASKS if name.startswith("ruler_")),
    "ruler_niah": tuple(name for name in TASKS if name.startswith("ruler_niah_")),
    # The recall tasks of HELMET (arXiv 2410.02694, table 2).
    "helmet_recall": (
        "helmet_json_kv",
        "ruler_niah_multikey_2",
        "ruler_niah_multikey_3",
        "ruler_niah_multivalue",
    ),
    "stories": tuple(task.name for task in stories.TASKS),
    "graph_walks": tuple(task.name for task in graph_walks.TASKS),
    "many_shot": tuple(task.name for task in many_shot.TASKS),
}


def tasks_of(names: Iterable[str]) -> list[Task]:
    """Return the tasks of names and groups, each once, in the order of the registry.

    Raises:
        UserError: a name is neither that of a task nor that of a group.
    """
    wanted: set[str] = set()
    for name in names:
        if name not in TASKS and name not in GROUPS:
            raise UserError(
                f"probes.tasks: {name!r} is no probe; the probes are {', '.join(TASKS)}, and the groups "
                f"{', '.join(GROUPS)}"
            )
        wanted.update(GROUPS.get(name, (name,)))
    return [task for name, task in TASKS.items() if name in wanted]
