"""Standard suites of an evaluation: each model is asked the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from longspan.evaluate.loss_stage import LossStage
from longspan.evaluate.models import EvaluatedModel
from longspan.evaluate.prepare import Prepared
from longspan.evaluate.probe_stage import ProbeStage
from longspan.evaluate.suites.files import suites_folder
from longspan.evaluate.suites.load import LoadedTask, Workspace, load_suites
from longspan.evaluate.suites.model import SuiteModel
from longspan.evaluate.suites.run import SuiteRun, run_tasks
from longspan.generate.progress import Log
from longspan.hashing import content_id
from longspan.model.load import load_tokenizer


@dataclass(frozen=True)
class SuiteStage:
    """Suites to run, by the engines of the probes and the actors of the losses.

    Attributes:
        prepared: the evaluation.
        tasks: of its suites (`load_tasks`).
        probes: gives engines.
        losses: gives actors that score.
        log: takes lines on progress.
    """

    prepared: Prepared
    tasks: Sequence[LoadedTask]
    probes: ProbeStage
    losses: LossStage
    log: Log

    def run(self, model: EvaluatedModel) -> SuiteRun:
        """Return the results of a model; none without tasks.

        Raises:
            UserError: a prompt can't be made, or the model can't be reached.
        """
        if not self.tasks:
            return SuiteRun()
        recipe = self.prepared.recipe
        window = min(self.prepared.window, model.facts.window)
        described = SuiteModel(
            content_id(self.probes.identity(model), self.prepared.template),
            window,
            load_tokenizer(self.prepared.model.folder),
            scoring=None if recipe.endpoint else self.losses.pool(model),
            generator=self.probes.generator(model, window),
            chat=self.prepared.template == "chat",
        )
        self.log(f"suites: {', '.join(suite.name for suite in recipe.suites)} on the {model.key}")
        return run_tasks(self.tasks, described, _workspace(self.prepared, self.log))


def load_tasks(prepared: Prepared, log: Log) -> list[LoadedTask]:
    """Load the tasks of all suites, so that mistakes in them are found before anything is asked.

    Raises:
        UserError: a task, its settings or its data are wrong.
    """
    suites, has_likelihoods = prepared.recipe.suites, prepared.recipe.endpoint is None
    if suites:
        log(f"suites: loading {', '.join(suite.name for suite in suites)}")
    return load_suites(suites, _workspace(prepared, log), has_likelihoods)


def _workspace(prepared: Prepared, log: Log) -> Workspace:
    return Workspace(prepared.store, suites_folder(), log)
