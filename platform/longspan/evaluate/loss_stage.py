"""Losses of an evaluation: each model on the same tokens of held-out documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from longspan.evaluate.documents import Document, documents_hash
from longspan.evaluate.losses.by_context import TargetChoice
from longspan.evaluate.losses.documents import TokenizedDocuments, tokenize
from longspan.evaluate.losses.key_tokens import (
    KeyTokenRule,
    KeyTokens,
    key_tokens_id,
    read_key_tokens,
    write_key_tokens,
)
from longspan.evaluate.losses.measure import Losses, LossPlan, choose_key_tokens
from longspan.evaluate.models import EvaluatedModel
from longspan.evaluate.prepare import Prepared
from longspan.evaluate.scoring.pool import Pool, ScoredModel, Workers
from longspan.evaluate.scoring.scorer import Precision
from longspan.generate.progress import Log
from longspan.model.cache import model_cache_folder


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
        scores = self._pool(model).score(
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
        store, found = self.prepared.store, []
        for corpus in dict.fromkeys(document.corpus for document in self._chosen):
            own = [document for document in self._chosen if document.corpus == corpus]
            known = read_key_tokens(store, key_tokens_id(name, rule, documents_hash(own)))
            if known is None:
                tokenized = self._tokenized(evaluator, own)
                (known,) = choose_key_tokens(self._pool(evaluator).score, name, tokenized, rule)
                write_key_tokens(store, known)
            found.append(known)
        return found

    def _tokenized(
        self, model: EvaluatedModel, documents: Sequence[Document] | None = None
    ) -> TokenizedDocuments:
        return tokenize(_tokenizer(model), self._chosen if documents is None else documents)

    def _pool(self, model: EvaluatedModel) -> Pool:
        scored = ScoredModel(
            model.address, model.identity, self.precision, str(model_cache_folder())
        )
        return Pool(self.prepared.store, scored, self.workers, self.log)

    def _log_documents_too_short(self, model: EvaluatedModel, plan: LossPlan) -> None:
        if model is self.prepared.model and (short := plan.too_short):
            counted = ", ".join(f"{count:,} of {corpus}" for corpus, count in short.items())
            self.log(
                f"losses: documents shorter than the longest context are left out of losses by context: {counted}"
            )


def _tokenizer(model: EvaluatedModel) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        str(model.folder), local_files_only=True, trust_remote_code=False
    )
