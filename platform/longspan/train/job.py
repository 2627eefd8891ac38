"""Everything a training worker needs to know, as one value that travels to it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from longspan.corpus.manifest import SourceManifest
from longspan.corpus.order import Order
from longspan.recipe.derive import RunPlan
from longspan.recipe.schema import Recipe
from longspan.storage import Store

if TYPE_CHECKING:
    from longspan.corpus.streamplan import StreamPlan


@dataclass(frozen=True, repr=False)
class Job:
    """One run: what was asked, what was derived, and where things are."""

    recipe: Recipe
    plan: RunPlan
    store: Store
    manifests: tuple[SourceManifest, ...]
    """One per corpus, in the recipe's order."""
    peak_flops: float | None = None
    """Peak floating-point operations per second of one worker's device, where known."""

    def __repr__(self) -> str:
        # Ray's dashboard shows it: whole manifests would be no help there.
        return f"Job({self.recipe.name!r} in {self.store.uri()})"

    @cached_property
    def order(self) -> Order:
        """The run's global order of rows."""
        return Order(
            block_tokens=[
                [block.tokens for block in manifest.train] for manifest in self.manifests
            ],
            weights=[corpus.weight for corpus in self.recipe.corpora],
            stages=self.plan.stages,
            seed=self.recipe.training.seed,
        )

    def stream(self, first_update: int) -> StreamPlan:
        """The rows from an update on."""
        from longspan.corpus.streamplan import StreamPlan

        return StreamPlan(
            self.store, self.manifests, self.order, first_update, self.recipe.packing.document_mask
        )

    @property
    def fingerprint(self) -> str:
        """Identity of the data and its order: runs continue only over the same one."""
        facts = [
            self.order.fingerprint,
            [manifest.fingerprint for manifest in self.manifests],
            self.recipe.packing.document_mask,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    @staticmethod
    def cache_folder() -> Path:
        """Where this node keeps models it has fetched."""
        return (
            Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longspan" / "models"
        )

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names of the corpora, by source number."""
        return tuple(corpus.name for corpus in self.recipe.corpora)

    @property
    def run_path(self) -> str:
        """Folder of this run in the store."""
        return f"runs/{self.recipe.name}"

    @property
    def metrics_path(self) -> str:
        """Folder of the JSON-lines metrics."""
        return f"{self.run_path}/metrics"

    @property
    def model_path(self) -> str:
        """Folder of the exported model."""
        return f"{self.run_path}/model"
