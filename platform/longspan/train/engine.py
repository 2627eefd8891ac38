"""The training engine: one model under DeepSpeed ZeRO, stepped by global batches. No Ray in it.

Every loss is a sum over counted tokens divided by their number over all workers, so neither the
number of workers, nor the micro-batch, nor rows of weight zero change it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist

from longspan._compat import deepspeed as zero
from longspan.model.loss_checks import require_correct, require_shared_alike
from longspan.parallel.groups import SequenceGroup
from longspan.parallel.ulysses import SharedRows
from longspan.train.checkpoint.fragments import Fragment, fragments_of
from longspan.train.deepspeed_setup import initialize
from longspan.train.gradient_types import require_gradient_types

if TYPE_CHECKING:
    from longspan.model.loss import CausalLMLoss
    from longspan.stream.batch import Batch
    from longspan.train.engine_config import EngineConfig

MicroBatch = tuple[
    tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], SharedRows | None
]
"""Tokens, positions, labels, and weights where they differ; and the whole rows where they are shared."""


@dataclass(frozen=True)
class UpdateStats:
    """One update, summed over all workers."""

    update: int
    loss: float
    """Mean over all counted tokens of the global batch, by their weights, in nats."""
    learning_rate: float
    grad_norm: float
    """Global L2 norm before clipping."""
    tokens: int
    """Tokens of the global batch (weight-zero rows left out)."""
    counted_tokens: int
    squared_lengths: int
    """Sum of the squared lengths of the documents' pieces: what attention costs."""
    source_tokens: tuple[int, ...]
    skipped: bool = False
    """Whether the model was left as it was, since the gradient is not finite."""


class Engine:
    """DeepSpeed around a :class:`~longspan.model.loss.CausalLMLoss`."""

    def __init__(
        self, model: CausalLMLoss, config: EngineConfig, group: SequenceGroup | None = None
    ) -> None:
        """Shard ``model`` over the ranks of the default process group, which must exist already.

        Args:
            model: the whole model, or under ZeRO-3 loaded within :func:`longspan.train.deepspeed_setup.loading`.
            config: explicit values.
            group: the ranks that share rows with this one; None: rows are not shared. Its attention function is
                installed (`longspan.parallel.ulysses.install`).
        """
        assert dist.is_initialized(), "start a process group first (Ray Train and torchrun both do)"
        self.config = config
        self.group = group or SequenceGroup.single(dist.get_rank(), dist.get_world_size())
        self.update_count = self.steps = 0
        self._deepspeed = initialize(model, config)
        self.device = self._deepspeed.device
        world = dist.get_world_size()
        assert self._deepspeed.train_batch_size() == world, (
            f"DeepSpeed would scale gradients for a batch of {self._deepspeed.train_batch_size()}, not {world}"
        )
        assert self._deepspeed.zero_optimization_stage() == config.zero_stage
        require_gradient_types(self._deepspeed, config)

    @property
    def model(self) -> CausalLMLoss:
        """The wrapped model; under ZeRO-3 its parameters exist only while its modules run."""
        return self._deepspeed.module

    def update(self, batch: Batch, accepts: Callable[[float], bool] = math.isfinite) -> UpdateStats:
        """One optimizer step on the rows of this rank's group; all its ranks give the same batch.

        There is none, and the model is left as it was before, with a gradient that is not finite or
        a loss (nats per token, of the global batch) that ``accepts``, on all ranks, says no to.
        """
        assert batch.update == self.update_count, (
            f"batch of update {batch.update} at update {self.update_count}"
        )
        totals = self._global_totals(batch)
        counted = int(totals[1])
        assert counted > 0, f"update {batch.update}: no token of the global batch is counted"
        weight = self._global_weight(batch, counted)
        # Random numbers (dropout, in models that have it) are those of the update, however often the
        # process has been started: there is no state of them to keep.
        update = np.random.SeedSequence([self.config.seed, batch.update, dist.get_rank()])
        torch.manual_seed(int(update.generate_state(1, np.uint64)[0]) >> 1)
        learning_rate = self.config.schedule.learning_rate(batch.update)
        for group in self._deepspeed.optimizer.param_groups:
            group["lr"] = learning_rate
        loss = self._accumulate_gradients(batch, weight, accepts)
        self._deepspeed.step()
        grad_norm = float(self._deepspeed.get_global_grad_norm() or 0.0)
        skipped = not self._deepspeed.was_step_applied()
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        assert skipped or finite, f"a step at a loss of {loss} and a gradient norm of {grad_norm}"
        self.update_count += 1
        self.steps += not skipped
        return UpdateStats(
            update=batch.update,
            loss=loss,
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            tokens=int(totals[0]),
            counted_tokens=counted,
            squared_lengths=int(totals[2]),
            source_tokens=tuple(int(n) for n in totals[3:]),
            skipped=skipped,
        )

    def exclude_update(self, batch: Batch) -> None:
        """Count an update as done without looking at its rows."""
        assert batch.update == self.update_count, f"{batch.update} at {self.update_count}"
        self.update_count += 1

    def token_losses(self, batch: Batch) -> torch.Tensor:
        """Loss of every position, float32 [rows, S] on the engine's device, 0 where not counted; no gradients.

        All ranks of a group give the same batch and get the same losses. Under ZeRO-3 all ranks must call it equally
        often.
        """
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                rows = [
                    self.model.token_losses(*tensors, shared_rows=shared_rows)
                    for (*tensors, _), shared_rows in self._micro_batches(batch)
                ]
        finally:
            self.model.train(was_training)
        return self.group.gather_tokens(torch.cat(rows))

    def require_own_losses(self, document_mask: bool) -> None:
        """Compare losses on a few tokens with the model's own, and those of documents that share a row.

        All ranks call it. It finds in the model itself, under DeepSpeed and with the attention in use, what
        ``--validate`` finds in a tiny model of its architecture.

        Raises:
            UserError: a loss is not the model's own, depends on another document (with ``document_mask``), or
                changes when the row's tokens are divided among the ranks of a group.
        """
        was_training = self.model.training
        self.model.eval()
        try:
            require_correct(self.model, document_mask, self.device, self.config.dtype)
            if self._tells_attention:
                headwise = self.config.headwise_attention
                require_shared_alike(self.model, self.group, document_mask, self.device, headwise)
        finally:
            self.model.train(was_training)

    @property
    def _tells_attention(self) -> bool:
        """Whether attention is told of whole rows."""
        return self.group.degree > 1 or self.config.headwise_attention

    def fragments(self) -> list[Fragment]:
        """This rank's part of the state: views, to be copied before the next update or written to."""
        return fragments_of(self._deepspeed)

    def continue_from(self, update: int, steps: int) -> None:
        """Go on after ``update`` updates, from the state that was written to the fragments.

        All ranks call it; ``steps`` is how many of the updates were not skipped.
        """
        zero.sync_params_from_master(self._deepspeed, steps)
        self.update_count, self.steps = update, steps

    def state_dict(self) -> dict[str, torch.Tensor] | None:
        """Full weights of the inner Hugging Face model on rank 0 (CPU), None elsewhere; all ranks call it."""
        if self.config.zero_stage == 3:
            state = zero.full_state_dict(self._deepspeed)
        else:
            state = self._deepspeed.module.state_dict() if dist.get_rank() == 0 else None
        if dist.get_rank() != 0:
            return None
        assert state, "no weights were gathered"
        prefix = "model."
        return {
            name.removeprefix(prefix): tensor.cpu()
            for name, tensor in state.items()
            if name.startswith(prefix)
        }

    def _accumulate_gradients(
        self, batch: Batch, weight: float, accepts: Callable[[float], bool]
    ) -> float:
        """Forward and backward over the micro-batches; returns the global batch's loss per token.

        Args:
            batch: the rows of this rank's group.
            weight: of all tokens of the global batch together.
            accepts: see :meth:`update`.
        """
        # DeepSpeed averages gradients over the ranks; the sum over all tokens wants the ranks' sum.
        scale = dist.get_world_size() / weight
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        micro_batches = list(self._micro_batches(batch))
        for number, (tensors, shared_rows) in enumerate(micro_batches, start=1):
            last = number == len(micro_batches)
            self._deepspeed.set_gradient_accumulation_boundary(last)
            loss_sum = self._deepspeed(*tensors, shared_rows=shared_rows)
            total += loss_sum.detach().double()
            if last:
                dist.all_reduce(total)
                if not accepts(total.item() / weight):
                    scale = math.inf  # DeepSpeed makes no step of a gradient that is not finite.
            self._deepspeed.backward(loss_sum * scale, scale_wrt_gas=False)
            if not last:
                self._deepspeed.step()
        return total.item() / weight

    def _micro_batches(self, batch: Batch) -> Iterator[MicroBatch]:
        """Some rows at a time: this rank's slice of their tokens, and what attention needs of the whole rows."""
        num_rows = self.config.micro_batch.get(batch.length, 1)
        # Rows are cut only here: labels and weights at a cut follow from tokens behind it.
        cut = self.group.slice_of(batch.length)
        for start in range(0, len(batch.tokens), num_rows):
            rows = slice(start, start + num_rows)
            tokens, positions, labels = (
                torch.as_tensor(array[rows, cut], dtype=torch.int64, device=self.device)
                for array in (batch.tokens, batch.positions, batch.labels)
            )
            weights = None
            if batch.weights is not None:
                weights = torch.as_tensor(batch.weights[rows, cut], device=self.device)
            shared_rows = None
            if self._tells_attention:
                whole = torch.as_tensor(batch.positions[rows], device=self.device)
                headwise = self.config.headwise_attention
                shared_rows = SharedRows.from_positions(self.group, whole, headwise)
            yield (tokens, positions, labels, weights), shared_rows

    def _global_weight(self, batch: Batch, counted: int) -> float:
        """Weight of all counted tokens over all ranks; their number where they count the same."""
        if batch.weights is None:
            return counted
        weight = torch.tensor(batch.weights.sum(dtype=np.float64), device=self.device)
        weight *= self.group.is_first
        dist.all_reduce(weight)
        return weight.item()

    def _global_totals(self, batch: Batch) -> torch.Tensor:
        """[tokens, counted tokens, squared lengths, tokens of source 0, 1, ...] over all ranks, int64."""
        real = batch.indices >= 0
        totals = torch.zeros(3 + self.config.num_sources, dtype=torch.int64)
        totals[0] = int(real.sum()) * batch.length
        totals[1] = int((batch.labels != -100).sum())
        # Positions 0 .. n-1 of a piece add up to n(n-1)/2, so n^2 is twice their sum and n.
        totals[2] = 2 * int(batch.positions[real].sum(dtype=np.int64)) + totals[0]
        for source in batch.sources[real]:
            totals[3 + int(source)] += batch.length
        # All ranks of a group have the same rows.
        totals = (totals * self.group.is_first).to(self.device)
        dist.all_reduce(totals)
        return totals.cpu()
