"""Everything a training worker needs to know, as one value that travels to it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longspan.errors import UserError
from longspan.history.starts import FOLDER
from longspan.ingest.manifest import SourceManifest
from longspan.ingest.shards import read_index
from longspan.model.cache import model_cache_folder
from longspan.order.order import Order
from longspan.order.packs import PackTable
from longspan.recipe.derive import RunPlan
from longspan.recipe.schema import Recipe
from longspan.storage import Store, sealed
from longspan.train.checkpoint import CheckpointFacts, Checkpoints
from longspan.train.identity import RunIdentity, run_identity
from longspan.train.sources import Source

if TYPE_CHECKING:
    from longspan.stream.batch import TokenWeights
    from longspan.stream.plan import StreamPlan


@dataclass(frozen=True, repr=False)
class Job:
    """One run: what was asked, what was derived, and where things are."""

    recipe: Recipe
    plan: RunPlan
    store: Store
    corpora: tuple[SourceManifest, ...]
    """What the corpora became, in the recipe's order."""
    sources: tuple[Source, ...]
    """What rows come from."""
    peak_flops: float | None = None
    """Peak floating-point operations per second of one worker's device, where known."""
    packs: tuple[PackTable, ...] = ()
    """With best-fit packing, where each source's rows are."""

    def __repr__(self) -> str:
        # Ray's dashboard shows it: whole manifests would be no help there.
        return f"Job({self.recipe.name!r} in {self.store.uri()})"

    @property
    def manifests(self) -> tuple[SourceManifest, ...]:
        """What is read for rows, by source number."""
        return tuple(source.manifest for source in self.sources)

    @cached_property
    def order(self) -> Order:
        """The run's global order of rows."""
        return Order(
            block_tokens=[
                [block.tokens for block in manifest.train] for manifest in self.manifests
            ],
            weights=[source.weight for source in self.sources],
            stages=self.plan.stages,
            seed=self.recipe.training.seed,
            packs=self.packs,
            alone=[source.alone for source in self.sources],
        )

    @property
    def token_weights(self) -> TokenWeights | None:
        """What tokens count in the loss; None where all count the same."""
        per_sequence = self.recipe.training.loss == "per_sequence"
        if not per_sequence and not any(source.chat for source in self.sources):
            return None
        from longspan.stream.batch import TokenWeights

        return TokenWeights(tuple(source.prompt_loss for source in self.sources), per_sequence)

    def require_whole(self) -> None:
        """No conversation is longer than a row.

        Raises:
            UserError: one is.
        """
        for source in self.sources:
            if not (source.chat or source.alone):
                continue
            blocks = source.manifest.train + source.manifest.heldout
            lengths = [read_index(self.store, block).lengths for block in blocks]
            shortest = min(stage.length for stage in self.plan.stages)
            longer = sum(int((each > shortest).sum()) for each in lengths)
            if longer:
                raise UserError(
                    f"corpora.{source.name}: {longer:,} of its documents are longer than a row of "
                    f"{shortest:,} tokens, and these are not cut: give target_context and lengths "
                    f"room for them, or leave them out with max_tokens={shortest}"
                )

    def packed(self) -> Job:
        """This job with its documents packed as its recipe says; may read their lengths."""
        from longspan.order.packed_order import stored_packed_order

        if self.recipe.packing.method == "concatenate":
            return self
        order = stored_packed_order(self.order, self.store, self.manifests)
        return replace(self, packs=order.packs)

    def stream(self, first_update: int) -> StreamPlan:
        """The rows from an update on."""
        from longspan.stream.plan import StreamPlan

        return StreamPlan(
            self.store,
            self.manifests,
            self.order,
            first_update,
            self.recipe.packing.document_mask,
            self.token_weights,
            sequence_parallel=self.recipe.workers.sequence_parallel,
        )

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints."""
        return Checkpoints(self.store, self.run_path)

    @property
    def fingerprint(self) -> str:
        """Identity of the data and its order: runs continue only over the same one."""
        facts = [self.order.fingerprint, [manifest.fingerprint for manifest in self.manifests]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    @property
    def identity(self) -> RunIdentity:
        """The values that must not change between the starts of this run, besides `fingerprint`."""
        return run_identity(self.recipe, self.plan, self.sources)

    def checkpoint_facts(
        self,
        update: int = 0,
        steps: int = 0,
        losses: tuple[float, ...] = (),
        skipped: tuple[int, ...] = (),
    ) -> CheckpointFacts:
        """What a checkpoint of this run says of itself after so many updates."""
        return CheckpointFacts(update, steps, self.fingerprint, self.identity, losses, skipped)

    def require_continuable(self) -> None:
        """The run's latest checkpoint, if it has one, is of the same recipe and data.

        Raises:
            UserError: it is not (each key that differs is named, with both values).
        """
        found = self.checkpoints.latest()
        if found is not None:
            found.facts.require(self.checkpoint_facts())

    @staticmethod
    def cache_folder() -> Path:
        """Where this node keeps models it has fetched."""
        return model_cache_folder()

    def tokenizer_folder(self) -> Path:
        """A local folder with the run's tokenizer, fetched where it is not on this node."""
        from longspan.model.source import local_tokenizer_dir

        name = self.recipe.tokenizer or self.recipe.base_model
        return local_tokenizer_dir(name, self.store, self.cache_folder())

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names of what rows come from, by source number."""
        return tuple(source.name for source in self.sources)

    @property
    def run_path(self) -> str:
        """Folder of this run in the store."""
        return f"runs/{self.recipe.name}"

    @property
    def metrics_path(self) -> str:
        """Folder of the JSON-lines metrics."""
        return f"{self.run_path}/metrics"

    @property
    def history_path(self) -> str:
        """Folder of the record of what every worker was given."""
        return f"{self.run_path}/{FOLDER}"

    def begin_export(self) -> None:
        """From now on the model in the store is not whole."""
        self.store.delete(self.exported_path)

    def end_export(self) -> None:
        """The whole model is in the store."""
        self.store.write_bytes(self.exported_path, sealed.dumps(self._export))

    def is_exported(self) -> bool:
        """Whether the model of this run's end is in the store, and whole."""
        try:
            found = sealed.read(self.store, self.exported_path)
        except (FileNotFoundError, sealed.Damaged):
            return False
        return found == self._export and self.store.exists(f"{self.model_path}/config.json")

    @property
    def _export(self) -> dict[str, Any]:
        return {"updates": self.plan.updates, "order": self.fingerprint}

    @property
    def exported_path(self) -> str:
        """What says that the exported model is whole."""
        return f"{self.run_path}/exported.json"

    @property
    def model_path(self) -> str:
        """Folder of the exported model."""
        return f"{self.run_path}/model"
