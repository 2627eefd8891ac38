"""A causal language model that scores given tokens, without the logits of a whole row in memory."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from longspan._compat.transformers import attention_implementation
from longspan.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from longspan.model.facts import ModelFacts
    from longspan.model.loss import CausalLMLoss

Precision = Literal["bf16", "fp32"]

LOGIT_BYTES = 2**28
"""Memory of the float32 logits that exist at one time."""
BATCH_TOKENS = 8192
"""Tokens of short rows that are computed together, padding included."""


class RowTooLong(UserError):
    """A row longer than the model's window."""

    def __init__(self, tokens: int, window: int) -> None:
        super().__init__(
            f"row of {tokens:,} tokens, window of {window:,}; use shorter rows, or allow_beyond_window"
        )
        self.tokens, self.window = tokens, window


@dataclass(frozen=True)
class Choices:
    """Scores of several continuations of one context.

    Attributes:
        loglikelihoods: sum of the tokens' log-probabilities of each continuation, in nats.
        is_greedy: whether each token of a continuation is the likeliest one at its place.
    """

    loglikelihoods: tuple[float, ...]
    is_greedy: tuple[bool, ...]


class Scorer:
    """Losses of tokens and likelihoods of continuations under one model.

    Attributes:
        window: tokens of the longest row that the model's config allows.
    """

    def __init__(self, model: CausalLMLoss, window: int, allow_beyond_window: bool = False) -> None:
        """Score with ``model``, which is put into evaluation mode."""
        self.window = window
        self._allow_beyond_window = allow_beyond_window
        self._model = model.eval()
        self._attention: str = attention_implementation(model.model.config)
        self._device = next(model.parameters()).device

    @classmethod
    def load(
        cls,
        folder: str | Path,
        precision: Precision,
        device: str = "cpu",
        allow_beyond_window: bool = False,
    ) -> Scorer:
        """Load a model from a local folder, with the positions that its config states.

        Args:
            folder: of a Hugging Face model.
            precision: of parameters and activations; logits are float32 always.
            device: "cpu" or a CUDA device.
            allow_beyond_window: score rows longer than the model's window, to see what becomes of them.

        Raises:
            UserError: no such model, or one that cannot be scored by its decoder and its output head.
        """
        import torch

        from longspan.model.facts import read_facts
        from longspan.model.load import load_model
        from longspan.model.loss import CausalLMLoss
        from longspan.model.loss_checks import require_correct

        facts = read_facts(folder)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        model = load_model(
            folder,
            facts.positions,
            facts.window,
            dtype,
            _attention(facts, precision, device),
            activation_checkpointing=False,
        )
        loss = CausalLMLoss(model.to(device), chunk_tokens(facts.vocab)).eval()
        require_correct(loss, document_mask=False, device=device, dtype=dtype)
        return cls(loss, facts.window, allow_beyond_window)

    def token_losses(self, ids: Sequence[int] | np.ndarray, first_target: int) -> np.ndarray:
        """Loss of each token from ``first_target`` on, given all tokens before it.

        Args:
            ids: token ids of a row; nothing is added to them.
            first_target: number of the first token that is scored; at least 1.

        Returns:
            Cross-entropy in nats, float32 [len(ids) - first_target].

        Raises:
            RowTooLong: the row is longer than the window.
        """
        return self.batch_losses([(ids, first_target)])[0]

    def batch_losses(
        self, rows: Sequence[tuple[Sequence[int] | np.ndarray, int]]
    ) -> list[np.ndarray]:
        """Losses of several rows that are computed together; see `token_losses`.

        Shorter rows are padded at their end, which no token before can see.
        """
        import torch

        from longspan.model.loss import token_losses

        for ids, first_target in rows:
            assert 0 < first_target < len(ids), f"target {first_target} of {len(ids)} tokens"
            self._require_fits(len(ids))
        self._use(self._attention)
        # Nothing is predicted from a row's last token.
        tokens = self._padded([ids[:-1] for ids, _ in rows])
        positions = torch.arange(tokens.shape[1], device=self._device).expand(tokens.shape)
        with torch.inference_mode():
            hidden = self._model.hidden_states(tokens, positions)
            predicting = torch.cat(
                [
                    hidden[number, first_target - 1 : len(ids) - 1]
                    for number, (ids, first_target) in enumerate(rows)
                ]
            )
            labels = self._tensor(np.concatenate([np.asarray(ids)[first:] for ids, first in rows]))
            losses = token_losses(
                predicting[None], self._model.head, labels[None], self._model.chunk
            )
        counts = [len(ids) - first_target for ids, first_target in rows]
        return np.split(losses[0].cpu().numpy(), np.cumsum(counts)[:-1])

    def choices(
        self, context_ids: Sequence[int], continuations: Sequence[Sequence[int]]
    ) -> Choices:
        """Likelihood of each continuation of a context, whose keys and values are computed once.

        Args:
            context_ids: token ids, at least one.
            continuations: token ids of each, at least one.

        Raises:
            RowTooLong: context and continuation are longer than the window.
        """
        import torch

        from longspan.model.attention import OWN  # These take no keys of earlier calls.

        assert len(context_ids) and continuations and all(map(len, continuations)), (
            "nothing to score"
        )
        self._require_fits(len(context_ids) + max(map(len, continuations)))
        self._use("sdpa" if self._attention in OWN else self._attention)
        needs_cache = any(len(continuation) > 1 for continuation in continuations)
        with torch.inference_mode():
            output = self._model.decoder(
                input_ids=self._tensor(context_ids)[None], use_cache=needs_cache
            )
            # All first tokens are predicted from the context's last one.
            logits = self._model.head(output.last_hidden_state[:, -1])[0].float()
            firsts = self._tensor([continuation[0] for continuation in continuations])
            likelihoods = logits.log_softmax(-1)[firsts].double().tolist()
            is_greedy = (logits.argmax() == firsts).tolist()
            size = max(1, BATCH_TOKENS // len(context_ids))
            longer = [n for n, continuation in enumerate(continuations) if len(continuation) > 1]
            for start in range(0, len(longer), size):
                batch = longer[start : start + size]
                rests = self._rests(output.past_key_values, [continuations[n] for n in batch])
                for number, (likelihood, greedy) in zip(batch, rests, strict=True):
                    likelihoods[number] += likelihood
                    is_greedy[number] = is_greedy[number] and greedy
        return Choices(tuple(likelihoods), tuple(is_greedy))

    def _rests(
        self, cache: Any, continuations: Sequence[Sequence[int]]
    ) -> list[tuple[float, bool]]:
        """Likelihoods of continuations without their first tokens, and whether these are greedy.

        Args:
            cache: keys and values of the context; stays as it is.
            continuations: token ids of each, at least two.
        """
        inputs = self._padded([continuation[:-1] for continuation in continuations])
        output = self._model.decoder(
            input_ids=inputs, past_key_values=_forked(cache, len(continuations)), use_cache=True
        )
        scored = []
        for row, continuation in zip(output.last_hidden_state, continuations, strict=True):
            labels = self._tensor(continuation[1:])
            likelihood, greedy = 0.0, True
            parts = zip(
                row[: len(labels)].split(self._model.chunk),
                labels.split(self._model.chunk),
                strict=True,
            )
            for hidden, own in parts:
                logits = self._model.head(hidden).float()
                found = logits.log_softmax(-1).gather(1, own[:, None])
                likelihood += float(found.double().sum())
                greedy = greedy and bool((logits.argmax(-1) == own).all())
            scored.append((likelihood, greedy))
        return scored

    def _require_fits(self, tokens: int) -> None:
        if tokens > self.window and not self._allow_beyond_window:
            raise RowTooLong(tokens, self.window)

    def _use(self, attention: str) -> None:
        """Use an implementation of attention that the model has."""
        if attention_implementation(self._model.model.config) != attention:
            self._model.model.set_attn_implementation(attention)

    def _padded(self, rows: Sequence[Sequence[int] | np.ndarray]) -> Tensor:
        """Rows of token ids, int64 [rows, longest], with token 0 behind the shorter ones."""
        padded = np.zeros((len(rows), max(map(len, rows))), np.int64)
        for number, row in enumerate(rows):
            padded[number, : len(row)] = row
        return self._tensor(padded)

    def _tensor(self, ids: Sequence[int] | np.ndarray) -> Tensor:
        import torch

        return torch.as_tensor(np.asarray(ids, np.int64), device=self._device)


def chunk_tokens(vocabulary: int) -> int:
    """Tokens whose float32 logits take `LOGIT_BYTES`."""
    return max(1, LOGIT_BYTES // (4 * vocabulary))


def _attention(facts: ModelFacts, precision: Precision, device: str) -> str:
    """Implementation of attention for rows of one document each.

    SDPA needs no mask for them, and memory in proportion to the row's length, unless attention is limited to a
    sliding window: then it takes a mask, and long rows another implementation.
    """
    from longspan.model.attention import Conditions, choose

    if facts.sliding_window is None:
        return "sdpa"
    if device == "cpu":
        return choose("auto", Conditions("cpu", precision, facts.window)).implementation
    return choose("auto", Conditions.of_process(precision, facts.window)).implementation


def _forked(cache: Any, rows: int) -> Any:
    """A cache that begins with another one's keys and values for each of some rows; that one stays as it is."""
    # Layers replace their tensors when they grow, so that copies of the layers can share them until then.
    forked = copy.copy(cache)
    forked.layers = [copy.copy(layer) for layer in cache.layers]
    if rows > 1:
        forked.batch_repeat_interleave(rows)
    return forked
