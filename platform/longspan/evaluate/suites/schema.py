"""Sections of an evaluation recipe that choose standard suites. Validation is pure: it reads no file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from longspan.config.section import Section

Preset = Literal["paper-short", "paper-long", "paper-safety"]


class PromptCut(Section):
    """Shortens prompts; without it a prompt is never shortened."""

    side: Literal["left", "document"] = "left"
    """left: the first tokens of the whole prompt, few-shot examples included, are dropped; a token that the
    tokenizer begins every text with stays. document: the end of the document inside the prompt is dropped, its
    instructions and question stay (tasks that mark their document, without examples)."""
    tokens: int = Field(ge=1)
    """Most tokens of a prompt."""


class SuiteTask(Section):
    """One task, or a group of tasks, of lm-evaluation-harness. A name alone stands for it with its own settings."""

    task: str = Field(min_length=1)
    """Name: of a task file of this package, of one in `include`, or of lm-evaluation-harness itself."""
    files: dict[str, str | list[str]] = Field(default_factory=dict)
    """Data by name of the split (train, validation, test): JSON lines, JSON, or Parquet; paths in the store. Unset:
    `data` of the suite, or what the task file names."""
    shots: int | None = Field(None, ge=0)
    """Solved examples before each question. Unset: the task's own number."""
    metrics: list[str] = Field(default_factory=list)
    """Metrics that are reported, such as "acc_norm" or "exact_match,strict-match". Empty: all of the task's."""
    limit: int | None = Field(None, ge=1)
    """Only the first questions of each task."""
    max_tokens: int | None = Field(None, ge=1)
    """Most tokens of an answer. Unset: the task's own number."""
    truncate_prompt: PromptCut | None = None
    """Unset: the task's own (`metadata.truncate_prompt` of its file), which is never for most."""


class Suite(Section):
    """Tasks that are reported together."""

    name: str = Field(min_length=1)
    """Group of its results. "short": the acceptance gate takes them for short-context ability."""
    preset: Preset | None = None
    """Tasks with the settings of the paper, before those of `tasks`."""
    without: list[str] = Field(default_factory=list)
    """Tasks of the preset that are left out, such as those whose data is not at hand."""
    tasks: list[SuiteTask] = Field(default_factory=list)
    """Tasks of the suite."""
    data: str | None = None
    """Folder in the store with the data of tasks that have no `files`: <data>/<task>/<split>.jsonl (.json, .parquet;
    compressed JSON lines too), or more of them in folders <data>/<task>/<split>."""
    include: list[str] = Field(default_factory=list)
    """Folders in the store with more task files. Templates and functions of task files run in the driver: include
    only those that you trust."""
    limit: int | None = Field(None, ge=1)
    """Only the first questions of each task, where the task has no limit of its own."""
    allow_code_execution: bool = False
    """Run programs that the model wrote, each in a sandboxed process without network (HumanEval, MBPP)."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _a_name_is_a_task(cls, tasks: Any) -> Any:
        if not isinstance(tasks, list):
            return tasks
        return [{"task": task} if isinstance(task, str) else task for task in tasks]

    @model_validator(mode="after")
    def _has_tasks(self) -> Suite:
        if not self.tasks and self.preset is None:
            raise ValueError("tasks: a suite needs tasks, or a preset")
        return self
