"""The loop that one would write without this project: transformers, torch and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from longspan.model.positions import rope_parameters
from longspan.stream.batch import Batch
from longspan.train.job import Job


class Bare:
    """The same weights, positions, micro-batches and optimizer as a job's, with the model's own loss."""

    def __init__(self, job: Job, model: Path) -> None:
        config: Any = AutoConfig.from_pretrained(model, trust_remote_code=False)
        config.rope_parameters = rope_parameters(job.plan.positions)
        config.max_position_embeddings = job.plan.window
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            model,
            config=config,
            dtype=torch.float32,
            attn_implementation="sdpa",
            trust_remote_code=False,
        )
        self._model.train()
        optimizer = job.recipe.optimizer
        self._clip = optimizer.gradient_clipping
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(),
            lr=job.plan.learning_rate,
            betas=optimizer.betas,
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
        )
        self._micro_batch = job.plan.micro_batch

    def update(self, batch: Batch) -> float:
        """One update; its loss."""
        rows = self._micro_batch[batch.length]
        parts = [slice(n, n + rows) for n in range(0, len(batch.tokens), rows)]
        total = 0.0
        for part in parts:
            tokens, positions, labels = (
                torch.as_tensor(array[part], dtype=torch.int64)
                for array in (batch.tokens, batch.positions, batch.labels)
            )
            # The model shifts labels itself: its label of a token is the token, where it counts.
            own = torch.cat([torch.full_like(labels[:, :1], -100), labels[:, :-1]], 1)
            output = self._model(
                input_ids=tokens, position_ids=positions, labels=own, use_cache=False
            )
            loss = output.loss / len(parts)
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return total
