"""Suites, task by task: results, and the score of each question for paired comparisons."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from longspan._compat.lm_eval import discard_requests
from longspan.evaluate.results import SuiteResult
from longspan.evaluate.suites.answers import Answers
from longspan.evaluate.suites.load import LoadedTask, Workspace, load_suites
from longspan.evaluate.suites.model import SuiteModel
from longspan.evaluate.suites.prompts import PromptEncoder
from longspan.evaluate.suites.quiet import quiet
from longspan.evaluate.suites.schema import Suite
from longspan.evaluate.suites.scores import (
    Settings,
    SuiteSample,
    renamed,
    reported,
    results_of,
    samples_of,
)

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.tasks.manager import TaskDict

    from longspan.evaluate.suites.language_model import LanguageModel

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
class Runnable:
    """A task with the model that it is run on.

    Attributes:
        task: with its data.
        lm: answers its requests.
    """

    task: LoadedTask
    lm: LanguageModel


def run_suites(suites: Sequence[Suite], model: SuiteModel, workspace: Workspace) -> SuiteRun:
    """Load suites, and run them on a model; see `load_suites` and `run_tasks`."""
    return run_tasks(load_suites(suites, workspace, model.scoring is not None), model, workspace)


def run_tasks(tasks: Sequence[LoadedTask], model: SuiteModel, workspace: Workspace) -> SuiteRun:
    """Run tasks on a model; requests of all tasks are asked together.

    Each task's prompts are the same whatever other tasks there are, and the first questions are the same whatever the
    limit. What was answered by an earlier run of the same model is not asked again.

    Raises:
        UserError: a prompt can't be made as the task's settings ask for, or the model cannot be reached.
    """
    if not tasks:
        return SuiteRun()
    from longspan.evaluate.suites.language_model import LanguageModel

    answers, encoder = Answers(model), PromptEncoder(model.tokenizer)
    runnable = [Runnable(task, LanguageModel(answers, encoder, task.cuts)) for task in tasks]
    with quiet():
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


def _requests(runnable: Runnable, chat: bool) -> list[Instance]:
    """Requests that the harness will make when the task is evaluated."""
    found: list[Instance] = []
    loaded = runnable.task.loaded
    _seed(loaded)
    for task in loaded["tasks"].values():
        task.build_all_requests(
            limit=runnable.task.limit,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
            chat_template=runnable.lm.apply_chat_template if chat else None,
        )
        found += task.instances
        discard_requests(task)  # They hold all prompts.
    return found


def _evaluate(runnable: Runnable, chat: bool) -> SuiteRun:
    from lm_eval.evaluator import evaluate

    task, lm = runnable.task, runnable.lm
    loaded = task.loaded
    _seed(loaded)
    found = evaluate(
        lm,
        loaded,
        limit=task.limit,
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
        for sample in samples_of(leaf, found, lm.tallies[leaf], task.metrics)
    ]
    samples = renamed(of_leaves, reported(found))
    settings = Settings(task.suite.name, task.limit, task.cuts)
    return SuiteRun(results_of(settings, found, lm.tallies, samples), samples)


def _seed(loaded: TaskDict) -> None:
    """Make the prompts of tasks depend on nothing that was done before in this process."""
    import numpy as np

    random.seed(SEED)
    np.random.seed(SEED)
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(SEED)
