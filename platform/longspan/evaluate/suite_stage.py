"""Standard suites of an evaluation: each model is asked the same questions."""

from __future__ import annotations

from dataclasses import dataclass

from longspan.evaluate.loss_stage import LossStage, load_tokenizer
from longspan.evaluate.models import EvaluatedModel
from longspan.evaluate.prepare import Prepared
from longspan.evaluate.probe_stage import ProbeStage
from longspan.evaluate.suites.model import SuiteModel
from longspan.evaluate.suites.run import SuiteRun, Workspace, run_suites
from longspan.generate.progress import Log
from longspan.hashing import content_id
from longspan.model.cache import model_cache_folder


@dataclass(frozen=True)
class SuiteStage:
    """Suites to run, by the engines of the probes and the actors of the losses.

    Attributes:
        prepared: the evaluation.
        probes: gives engines.
        losses: gives actors that score.
        log: takes lines on progress.
    """

    prepared: Prepared
    probes: ProbeStage
    losses: LossStage
    log: Log

    def run(self, model: EvaluatedModel) -> SuiteRun:
        """Return the results of a model; none if the recipe names no suite.

        Raises:
            UserError: a task, its settings or its data are wrong, or the model can't be reached.
        """
        recipe = self.prepared.recipe
        if not recipe.suites:
            return SuiteRun()
        window = min(self.prepared.window, model.facts.window)
        described = SuiteModel(
            content_id(self.probes.identity(model), self.prepared.template),
            window,
            load_tokenizer(self.prepared.model),
            scoring=None if recipe.endpoint else self.losses.pool(model),
            generator=self.probes.generator(model, window),
            chat=self.prepared.template == "chat",
        )
        workspace = Workspace(
            self.prepared.store, model_cache_folder().parent / "evaluation", self.log
        )
        self.log(f"suites: {', '.join(suite.name for suite in recipe.suites)} on the {model.key}")
        return run_suites(recipe.suites, described, workspace)
