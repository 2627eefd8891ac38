"""Task files by name, with the settings and data of a recipe put over them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from longspan._compat.lm_eval import read_task_file
from longspan.errors import UserError
from longspan.evaluate.suites.schema import PromptCut, SuiteTask
from longspan.evaluate.suites.settings import Config, Files, settings_over, shots_of
from longspan.hashing import content_id

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks.manager import TaskDict

OWN = Path(__file__).parent / "tasks"


@dataclass(frozen=True)
class Library:
    """Task files of this package, of the user, and of lm-evaluation-harness.

    Attributes:
        include: folders of the user's task files.
        folder: local, for task files with a recipe's settings, and for tables that `datasets` makes.
    """

    include: tuple[Path, ...]
    folder: Path
    _configs: dict[str, Config] = field(default_factory=dict, compare=False)

    @cached_property
    def _ours(self) -> TaskManager:
        from lm_eval.tasks import TaskManager

        return TaskManager(include_path=[OWN, *self.include], include_defaults=False)

    @cached_property
    def _all(self) -> TaskManager:
        """Includes lm-evaluation-harness' own tasks, whose index takes seconds."""
        from lm_eval.tasks import TaskManager

        return TaskManager(include_path=[OWN, *self.include], include_defaults=True)

    def is_own(self, name: str) -> bool:
        """Whether a name is of a task file of this package or of the user."""
        return name in self._ours.task_index

    def leaves(self, name: str) -> list[str]:
        """Return the names of the tasks that a name stands for: itself, or the members of a group or tag.

        Raises:
            UserError: no such task.
        """
        index = self._manager(name).task_index
        members = dict.fromkeys(self._members(self._manager(name), name))
        return [each for each in members if index[each].kind.name not in ("GROUP", "TAG")]

    def config(self, leaf: str) -> Config:
        """Return the content of a task file, functions as their names."""
        if leaf not in self._configs:
            entry = self._manager(leaf).task_index[leaf]
            assert entry.yaml_path is not None
            self._configs[leaf] = read_task_file(entry.yaml_path)
        return self._configs[leaf]

    def write(self, task: SuiteTask, files: Mapping[str, Files]) -> Path:
        """Write the task files of a task, or of a group and its members, with a recipe's settings.

        Args:
            task: as the recipe has it.
            files: data by task and split; tasks without any read what their task file names.

        Returns:
            Their folder, which has all that the task needs.

        Raises:
            UserError: settings and task do not fit together.
        """
        # Jobs on one machine share the folder above.
        data = {
            leaf: {split: list(own) for split, own in each.items()} for leaf, each in files.items()
        }
        key = content_id(task.model_dump(mode="json"), data, [str(path) for path in self.include])
        folder = self.folder / "tasks" / f"{task.task}-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in dict.fromkeys(self._members(self._manager(task.task), task.task)):
            self._write(task, name, files.get(name, {}), folder)
        return folder

    def load(self, task: SuiteTask, files: Mapping[str, Files]) -> TaskDict:
        """Load a task, or all tasks of a group, with a recipe's settings.

        Args:
            task: as the recipe has it.
            files: see `write`.

        Raises:
            UserError: settings and task do not fit together, or the data cannot be read.
        """
        from lm_eval.tasks import TaskManager

        folder = self.write(task, files)
        try:
            loaded = TaskManager(include_path=folder, include_defaults=False).load([task.task])
        except Exception as error:
            raise _not_loaded(task.task, error, any(files.values())) from error
        for leaf, each in loaded["tasks"].items():
            own, wanted = each.get_config("num_fewshot"), shots_of(task, self.config(leaf))
            if task.shots is not None and own != wanted:
                raise UserError(
                    f"suites.tasks.shots: group {task.task!r} sets {own} examples for {leaf!r}; leave shots out, or "
                    "name its tasks one by one"
                )
        return loaded

    def cut(self, task: SuiteTask, leaf: str) -> PromptCut | None:
        """How prompts of a task may be shortened; None: not at all."""
        metadata = self.config(leaf).get("metadata") or {}
        own = metadata.get("truncate_prompt")
        return task.truncate_prompt or (PromptCut.model_validate(own) if own else None)

    def _manager(self, name: str) -> TaskManager:
        if name in self._ours.task_index:
            return self._ours
        if name in self._all.task_index:
            return self._all
        close = difflib.get_close_matches(name, self._all.task_index, 3)
        hint = f"did you mean {', '.join(close)}?" if close else "name a task file of `include`"
        raise UserError(f"suites.tasks.task: there is no task {name!r}; {hint}")

    def _members(self, manager: TaskManager, name: str) -> Iterator[str]:
        """Name itself, and of a group or tag all members of all levels."""
        yield name
        entry = manager.task_index[name]
        if entry.kind.name == "TAG":
            own: Any = sorted(entry.tags)
        else:
            own = (entry.cfg or {})["task"] if entry.kind.name == "GROUP" else []
        for member in _names(own):
            if member in manager.task_index:
                yield from self._members(manager, member)

    def _write(self, task: SuiteTask, name: str, files: Files, folder: Path) -> None:
        """Write a task file that includes another one and puts the recipe's settings over it."""
        entry = self._manager(name).task_index[name]
        if entry.kind.name == "TAG":
            return  # Its members name it.
        settings: dict[str, Any] = {"include": str(entry.yaml_path)}
        if entry.kind.name == "GROUP":
            settings |= {"group": name}
        else:
            settings |= {"task": name}
            settings |= settings_over(
                task, name, self.config(name), files, self.folder / "datasets"
            )
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))


def _names(members: Any) -> Iterator[str]:
    """Names in a group's list of members, which are names, or mappings with a name or a list of them."""
    for member in members if isinstance(members, list) else [members]:
        if isinstance(member, Mapping):
            yield from _names(member.get("task", member.get("group")))
        elif isinstance(member, str):
            yield member


def _not_loaded(name: str, error: Exception, has_files: bool) -> UserError:
    cause = error.__cause__ or error
    first = (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]
    if isinstance(error, ImportError):
        return UserError(
            f"suites.tasks: task {name!r} needs a package that is not installed ({first}); install it on the driver's "
            "node, or leave the task out"
        )
    if has_files:
        return UserError(f"suites.tasks: task {name!r} could not read its files: {first}")
    return UserError(
        f"suites.tasks: task {name!r} could not be loaded ({first}). Tasks of lm-evaluation-harness read their data "
        "from the Hugging Face hub: give the data as `files` or `data`, or run where the hub can be reached"
    )
