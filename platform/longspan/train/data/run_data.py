"""Data of a run: its corpora, the sources of rows, and their global order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from longspan.errors import UserError
from longspan.order.order import Order, Stage
from longspan.order.packs import PackTable
from longspan.shards.manifest import SourceManifest
from longspan.shards.token_shards import read_index
from longspan.storage import Store
from longspan.train.data.row_sources import Source

if TYPE_CHECKING:
    from longspan.stream.batch import TokenWeights
    from longspan.stream.plan import StreamPlan


@dataclass(frozen=True, repr=False)
class RunData:
    """Rows of a run, as a pure function of these values."""

    store: Store
    corpora: tuple[SourceManifest, ...]
    """Manifests of the corpora, in the recipe's order."""
    sources: tuple[Source, ...]
    """Sources of rows; the mixture's arm derives them from the corpora."""
    stages: Sequence[Stage]
    """Stages of the length schedule."""
    seed: int
    has_document_mask: bool = True
    """Whether attention is masked between the documents of a row."""
    has_sequence_weights: bool = False
    """Whether each sequence counts the same in the loss, whatever its number of tokens."""
    sequence_parallel: int = 1
    """Workers that share a row."""
    packs: tuple[PackTable, ...] = ()
    """With best-fit packing, where each source's rows are."""

    @property
    def manifests(self) -> tuple[SourceManifest, ...]:
        """Manifests by source number."""
        return tuple(source.manifest for source in self.sources)

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names by source number."""
        return tuple(source.name for source in self.sources)

    @cached_property
    def order(self) -> Order:
        """Global order of rows."""
        return Order(
            block_tokens=[
                [block.tokens for block in manifest.train] for manifest in self.manifests
            ],
            weights=[source.weight for source in self.sources],
            stages=self.stages,
            seed=self.seed,
            packs=self.packs,
            alone=[source.alone for source in self.sources],
        )

    @property
    def fingerprint(self) -> str:
        """Identity of the data and its order: a run resumes only with the same one."""
        facts = [self.order.fingerprint, [manifest.fingerprint for manifest in self.manifests]]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    @property
    def token_weights(self) -> TokenWeights | None:
        """Weights of tokens in the loss, or None if all count the same."""
        if not self.has_sequence_weights and not any(source.chat for source in self.sources):
            return None
        from longspan.stream.batch import TokenWeights

        prompt_losses = tuple(source.prompt_loss for source in self.sources)
        return TokenWeights(prompt_losses, self.has_sequence_weights)

    def stream(self, first_update: int) -> StreamPlan:
        """Return the rows from an update on."""
        from longspan.stream.plan import StreamPlan

        return StreamPlan(
            self.store,
            self.manifests,
            self.order,
            first_update,
            self.has_document_mask,
            self.token_weights,
            sequence_parallel=self.sequence_parallel,
        )

    def packed(self) -> RunData:
        """Return this data with best-fit packing; may read the lengths of its documents."""
        from longspan.stream.packed_order import stored_packed_order

        order = stored_packed_order(self.order, self.store, self.manifests)
        return replace(self, packs=order.packs)

    def require_whole_documents(self) -> None:
        """Check that documents which must not be cut fit into a row of every stage.

        Raises:
            UserError: some do not.
        """
        shortest = min(stage.length for stage in self.stages)
        for source in self.sources:
            if not (source.chat or source.alone):
                continue
            blocks = source.manifest.train + source.manifest.heldout
            lengths = [read_index(self.store, block).lengths for block in blocks]
            longer = sum(int((each > shortest).sum()) for each in lengths)
            if longer:
                raise UserError(
                    f"corpora.{source.name}: {longer:,} of its documents are longer than a row of "
                    f"{shortest:,} tokens, and these are not cut: give target_context and lengths "
                    f"room for them, or leave them out with max_tokens={shortest}"
                )
