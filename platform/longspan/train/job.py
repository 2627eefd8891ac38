"""The job of a training worker: everything that it needs, as one serializable value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from longspan.model.cache import model_cache_folder
from longspan.recipe.derive import RunPlan
from longspan.recipe.schema import Recipe
from longspan.shards.manifest import SourceManifest
from longspan.storage import Store
from longspan.train.checkpoint.checkpoints import CheckpointFacts, Checkpoints
from longspan.train.data.row_sources import sources_of_rows
from longspan.train.data.run_data import RunData
from longspan.train.exported_model import ModelExport
from longspan.train.identity import RunIdentity, run_identity
from longspan.train.layout import RunLayout


@dataclass(frozen=True, repr=False)
class Job:
    """One run: its recipe, the derived values, its data and its files."""

    recipe: Recipe
    plan: RunPlan
    layout: RunLayout
    data: RunData
    peak_flops: float | None = None
    """Peak floating-point operations per second of one worker's device, where known."""

    def __repr__(self) -> str:
        # Ray's dashboard shows it: whole manifests would be no help there.
        return f"Job({self.recipe.name!r} in {self.store.uri()})"

    @property
    def store(self) -> Store:
        """Store of the run."""
        return self.layout.store

    @property
    def checkpoints(self) -> Checkpoints:
        """Checkpoints of the run."""
        return self.layout.checkpoints

    @property
    def identity(self) -> RunIdentity:
        """Values that must not change between the starts of this run, besides the data's fingerprint."""
        return run_identity(self.recipe, self.plan, self.data.sources)

    @property
    def export(self) -> ModelExport:
        """Exported model of the run's last update."""
        return ModelExport(self.layout, self.plan.updates, self.data.fingerprint)

    def checkpoint_facts(
        self,
        update: int = 0,
        steps: int = 0,
        losses: tuple[float, ...] = (),
        skipped: tuple[int, ...] = (),
    ) -> CheckpointFacts:
        """Return the metadata of a checkpoint of this run after so many updates."""
        return CheckpointFacts(update, steps, self.data.fingerprint, self.identity, losses, skipped)

    def require_continuable(self) -> None:
        """Check that the run's latest checkpoint, if any, is of the same recipe and data.

        Raises:
            UserError: it is not (each key that differs is named, with both values).
        """
        found = self.checkpoints.latest()
        if found is not None:
            found.facts.require(self.checkpoint_facts())

    def tokenizer_folder(self) -> Path:
        """Return a local folder with the run's tokenizer, fetched if it is not on this node."""
        from longspan.model.source import local_tokenizer_dir

        name = self.recipe.tokenizer or self.recipe.base_model
        return local_tokenizer_dir(name, self.store, model_cache_folder())


def make_job(
    recipe: Recipe,
    plan: RunPlan,
    store: Store,
    corpora: Sequence[SourceManifest],
    peak_flops: float | None = None,
) -> Job:
    """Return the job of a recipe over ingested corpora; best-fit packing may read the lengths of documents.

    Args:
        recipe: of the run.
        plan: its derived values.
        store: of the run.
        corpora: manifests in the recipe's order.
        peak_flops: peak floating-point operations per second of one worker's device, where known.
    """
    data = RunData(
        store,
        tuple(corpora),
        sources_of_rows(recipe, plan.long_threshold, store, corpora),
        stages=plan.stages,
        seed=recipe.training.seed,
        has_document_mask=recipe.packing.document_mask,
        has_sequence_weights=recipe.training.loss == "per_sequence",
        sequence_parallel=recipe.workers.sequence_parallel,
    )
    if recipe.packing.method != "concatenate":
        data = data.packed()
    return Job(recipe, plan, RunLayout(store, recipe.name), data, peak_flops)
