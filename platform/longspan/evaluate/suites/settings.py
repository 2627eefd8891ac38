"""Settings of a recipe over those of a task file, with checks of what the harness would do without a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longspan.errors import UserError
from longspan.evaluate.suites.files import reader
from longspan.evaluate.suites.schema import SuiteTask

GENERATE, ROLLING = "generate_until", "loglikelihood_rolling"
"""Kinds of tasks of the harness; the first is what a task file without `output_type` is."""
Config = dict[str, Any]
"""Content of a task file, functions as their names."""
Files = Mapping[str, Sequence[str]]
"""Local paths of data by split."""


def shots_of(task: SuiteTask, config: Config) -> int:
    """Return the number of solved examples before each question."""
    return task.shots if task.shots is not None else int(config.get("num_fewshot") or 0)


def settings_over(
    task: SuiteTask, leaf: str, config: Config, files: Files, cache: Path
) -> dict[str, Any]:
    """Return the keys of a task file that a recipe's settings replace.

    Args:
        task: as the recipe has it.
        leaf: task itself, or a member of its group.
        config: content of the task file.
        files: data by split; none: as the task file says.
        cache: folder for tables that `datasets` makes.

    Raises:
        UserError: the settings do not fit the task.
    """
    _require_fits(task, leaf, config)
    # The harness ignores a number of examples that is set later than here for tasks that have 0.
    settings: dict[str, Any] = {"num_fewshot": shots_of(task, config)}
    if task.max_tokens is not None:
        options = dict(config.get("generation_kwargs") or {})
        settings["generation_kwargs"] = options | {"max_gen_toks": task.max_tokens}
    if files:
        _require_splits(task, leaf, config, files)
        settings |= _data_settings(leaf, config, files, cache)
        if not shots_of(task, config) and _explicit_split(config) not in {None, *files}:
            settings["fewshot_config"] = None
    return settings


def _require_fits(task: SuiteTask, leaf: str, config: Config) -> None:
    evaluated = _evaluated_split(config)
    if (
        shots_of(task, config)
        and _examples_split(config) == evaluated
        and _may_show_the_answer(config)
    ):
        raise UserError(
            f"suites.tasks.shots: task {leaf!r} takes examples from the split it is evaluated on ({evaluated!r}), "
            "and may show a question with its answer; set fewshot_split in its task file"
        )
    kind = config.get("output_type", GENERATE)
    if task.max_tokens is not None and kind != GENERATE:
        raise UserError(
            f"suites.tasks.max_tokens: task {leaf!r} generates nothing ({kind}); leave it out"
        )
    if task.truncate_prompt and kind == ROLLING:
        raise UserError(
            f"suites.tasks.truncate_prompt: task {leaf!r} has no prompts ({kind}); leave it out"
        )


def _require_splits(task: SuiteTask, leaf: str, config: Config, files: Files) -> None:
    examples = _examples_split(config) if shots_of(task, config) else None
    required = {_evaluated_split(config), examples} - {None}
    if missing := sorted(str(split) for split in required - files.keys()):
        raise UserError(
            f"suites.tasks.files: task {leaf!r} needs its split {missing[0]!r}, files are given for "
            f"{', '.join(sorted(files)) or 'none'}; name a file for it"
        )


def _data_settings(leaf: str, config: Config, files: Files, cache: Path) -> dict[str, Any]:
    """Return the keys that make a task read local files."""
    data = {split: list(paths) for split, paths in files.items()}
    settings: dict[str, Any] = {"dataset_kwargs": {"data_files": data, "cache_dir": str(cache)}}
    if "custom_dataset" not in config:
        paths = [path for own in data.values() for path in own]
        settings["dataset_path"] = reader(paths, f"suites.tasks.files of {leaf!r}")
        settings["dataset_name"] = None
    for key in ("training_split", "validation_split", "test_split", "fewshot_split"):
        if config.get(key) and config[key] not in files:
            settings[key] = None
    return settings


def _evaluated_split(config: Config) -> str | None:
    return config.get("test_split") or config.get("validation_split")


def _examples_split(config: Config) -> str | None:
    """Split that examples are taken from; None if the task file holds them itself."""
    own = config.get("fewshot_config") or {}
    if explicit := _explicit_split(config):
        return explicit
    if own.get("samples") is not None:
        return None
    splits = ("training_split", "validation_split", "test_split")
    return next((config[key] for key in splits if config.get(key)), None)


def _explicit_split(config: Config) -> str | None:
    return (config.get("fewshot_config") or {}).get("split") or config.get("fewshot_split")


def _may_show_the_answer(config: Config) -> bool:
    """The harness leaves the question itself out of its examples only if both are of the test split."""
    return _explicit_split(config) != config.get("test_split")
