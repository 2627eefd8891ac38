"""Losses of an evaluation: each model on the same tokens of held-out documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from longspan.evaluate.documents import Document
from longspan.evaluate.losses.by_context import TargetChoice
from longspan.evaluate.losses.documents import TokenizedDocuments, tokenize
from longspan.evaluate.losses.key_tokens import KeyTokenRule, KeyTokens
from longspan.evaluate.losses.measure import Losses, LossPlan, choose_key_tokens
from longspan.evaluate.models import EvaluatedModel
from longspan.evaluate.prepare import Prepared
from longspan.evaluate.scoring.pool import Pool, ScoredModel, Workers
from longspan.evaluate.scoring.scorer import Precision
from longspan.generate.progress import Log
from longspan.model.load import load_tokenizer


@dataclass(frozen=True)
class LossStage:
    """Losses to measure, and on what.

    Attributes:
        prepared: the evaluation.
        documents: held-out documents of all sources.
        log: takes lines on progress.
    """

    prepared: Prepared
    documents: Sequence[Document]
    log: Log

    def losses(self, model: EvaluatedModel) -> Losses | None:
        """Return the losses of a model; None if the recipe asks for none.

        Raises:
            UserError: the model can't be loaded or scored.
        """
        if not self.prepared.recipe.losses.documents:
            return None
        plan = self.plan.within(model.facts.window)
        self._log_documents_too_short(model, plan)
        scores = self.pool(model).score(
            plan.requests, plan.documents.texts, f"losses of the {model.key}"
        )
        return plan.losses(scores, self._key_tokens)

    @cached_property
    def plan(self) -> LossPlan:
        """Rows to score, up to the window of the evaluation."""
        settings, prepared = self.prepared.recipe.losses, self.prepared
        choice = TargetChoice(
            settings.targets, settings.places, prepared.recipe.seed, settings.shortest_context
        )
        return LossPlan.of(self._tokenized(prepared.model), prepared.window, choice)

    @cached_property
    def workers(self) -> Workers:
        """Actors that score, on the cluster as it is when they are first needed."""
        return Workers.of_cluster(self.prepared.recipe.engine.pool, self.log)

    @property
    def precision(self) -> Precision:
        """Type that losses are computed in: bf16 on GPUs."""
        return "bf16" if self.workers.gpu else "fp32"

    @cached_property
    def _chosen(self) -> list[Document]:
        """The first documents of each source."""
        most = self.prepared.recipe.losses.documents
        by_corpus: dict[str, list[Document]] = {}
        for document in self.documents:
            by_corpus.setdefault(document.corpus, []).append(document)
        return [document for own in by_corpus.values() for document in own[:most]]

    @cached_property
    def _key_tokens(self) -> list[KeyTokens] | None:
        """Key tokens of each source, chosen before or now; None if the recipe names no evaluator."""
        evaluator = self.prepared.evaluator
        if evaluator is None:
            return None
        rule = KeyTokenRule.of_window(min(self.prepared.window, evaluator.facts.window))
        name = f"{evaluator.identity}-{self.precision}"
        tokenized = self._tokenized(evaluator)
        score = self.pool(evaluator).score
        return choose_key_tokens(self.prepared.store, score, name, tokenized, rule)

    def _tokenized(self, model: EvaluatedModel) -> TokenizedDocuments:
        return tokenize(load_tokenizer(model.folder), self._chosen)

    def pool(self, model: EvaluatedModel) -> Pool:
        """Actors that score with a model."""
        scored = ScoredModel(model.address, model.identity, self.precision, setting=model.key)
        return Pool(self.prepared.store, scored, self.workers, self.log)

    def _log_documents_too_short(self, model: EvaluatedModel, plan: LossPlan) -> None:
        if model is self.prepared.model and (short := plan.too_short):
            counted = ", ".join(f"{count:,} of {corpus}" for corpus, count in short.items())
            self.log(
                f"losses: documents shorter than the longest context are left out of losses by context: {counted}"
            )
