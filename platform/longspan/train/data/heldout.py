"""Loss on documents that never enter training: by source, and by position in the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from longspan.parallel.groups import SequenceGroup
from longspan.position_bands import position_bands
from longspan.shards.manifest import SourceManifest
from longspan.stream.batch import Batch, TokenWeights, collate
from longspan.stream.row import Row
from longspan.stream.rows import heldout_rows
from longspan.train.engine import Engine
from longspan.train.job import Job


@dataclass(frozen=True)
class HeldOutLoss:
    """Sums over all workers; a mean is taken only at the end."""

    source_sums: np.ndarray
    """[sources, 2]: loss in nats, counted tokens."""
    band_sums: np.ndarray
    """[bands, 2]: the same by position."""
    bands: tuple[tuple[int, int], ...]
    """Positions [from, to) in the document, within its row."""

    @property
    def loss(self) -> float:
        """Mean over all counted tokens, in nats."""
        total = self.source_sums.sum(axis=0)
        return float(total[0] / total[1])

    def record(self, phase: str, update: int, source_names: Sequence[str]) -> dict[str, Any]:
        """As a metrics record."""
        record: dict[str, Any] = {
            "kind": "heldout",
            "phase": phase,
            "update": update,
            "loss": self.loss,
        }
        for name, (loss, tokens) in zip(source_names, self.source_sums, strict=True):
            if tokens:
                record[f"loss.{name}"] = float(loss / tokens)
        record["positions"] = [
            [first, last, float(loss / tokens), int(tokens)]
            for (first, last), (loss, tokens) in zip(self.bands, self.band_sums, strict=True)
            if tokens
        ]
        return record


class HeldOut:
    """The share of the held-out rows of this rank's group, read once."""

    def __init__(self, job: Job, group: SequenceGroup) -> None:
        """Read the rows: at the longest trained length, the same ones whatever the number of workers."""
        self._length = max(stage.length for stage in job.plan.stages)
        self._mask = job.recipe.packing.document_mask
        self._sources = len(job.data.corpora)
        self._chat = [corpus.format == "chat" for corpus in job.recipe.corpora]
        # Of conversations the answers alone, whatever training counts.
        others = tuple(0.0 if chat else 1.0 for chat in self._chat)
        self._weights = TokenWeights(others) if any(self._chat) else None
        self._bands = position_bands(self._length)
        rows = [
            row
            for source, manifest in enumerate(job.data.corpora)
            if manifest.heldout
            for row in self._rows_of(job, source, manifest)
        ]
        self.is_empty = not rows
        self._is_first = group.is_first
        self._batches = [self._batch([row]) for row in rows[group.index :: group.count]]
        if len(self._batches) < -(-len(rows) // group.count):
            self._batches.append(self._batch([]))

    def measure(self, engine: Engine) -> HeldOutLoss:
        """Loss of ``engine``'s model as it is now; all ranks call it, and only if there are rows."""
        sources = torch.zeros(self._sources, 2, dtype=torch.float64)
        bands = torch.zeros(len(self._bands), 2, dtype=torch.float64)
        edges = torch.tensor([last for _, last in self._bands[:-1]])
        for batch in self._batches:
            losses = engine.token_losses(batch).double().cpu()
            counted = torch.as_tensor(batch.labels != -100)
            pairs = torch.stack([losses, counted.double()], dim=-1)
            sources.index_add_(
                0, torch.as_tensor(batch.sources, dtype=torch.int64), pairs.sum(dim=1)
            )
            band = torch.bucketize(torch.as_tensor(batch.positions), edges, right=True)
            bands.index_add_(0, band[counted], pairs[counted])
        # All ranks of a group have the losses of the same rows.
        sums = (torch.cat([sources, bands]) * self._is_first).to(engine.device)
        dist.all_reduce(sums)
        summed = sums.cpu().numpy()
        return HeldOutLoss(summed[: self._sources], summed[self._sources :], self._bands)

    def _rows_of(self, job: Job, source: int, manifest: SourceManifest) -> list[Row]:
        most, short = job.recipe.heldout.rows_per_source, manifest.heldout_tokens < self._length
        # A source of fewer tokens than a row repeats to fill it. Its copies must not see each other, which only
        # the mask ensures (and not in all architectures that are trained without it): else the row is padded.
        cut = not self._chat[source] and (self._mask or not short)
        rows = heldout_rows(job.store, manifest, self._length, most, cut)
        return [replace(row, source=source) for row in rows]

    def _batch(self, rows: Sequence[Row]) -> Batch:
        return collate(
            0,
            rows,
            num_rows=1,
            length=self._length,
            document_mask=self._mask,
            weights=self._weights,
        )
