"""Derived values of a recipe: every value that it leaves out, each with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from longspan.errors import UserError
from longspan.extensions.points import POSITION_ENCODINGS
from longspan.model.attention import IMPLEMENTATIONS, MASKED
from longspan.model.kernels import plan_kernels
from longspan.model.positions import (
    Positions,
    encoding_class,
    replaced_scaling,
    require_applicable,
)
from longspan.order.order import Stage
from longspan.plan.memory import ZERO_STAGES, Workload, choose_zero_stage
from longspan.plan.savers import NO_SAVERS, Savers
from longspan.recipe.plan_notes import notes_of
from longspan.recipe.rope_bases import base_ignored, rope_base_for
from longspan.recipe.savers import choose_savers
from longspan.recipe.update_size import MIN_UPDATES

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts
    from longspan.plan.device import Device
    from longspan.recipe.schema import Recipe

_GIBI = 2**30


@dataclass(frozen=True)
class RunPlan:
    """A run with every value explicit."""

    window: int
    """The window the exported model states, in tokens."""
    positions: Positions
    original: Positions
    """The base model's own encoding."""
    stages: tuple[Stage, ...]
    micro_batch: dict[int, int]
    """Rows per forward pass by row length."""
    learning_rate: float
    final_learning_rate: float
    warmup_updates: int
    zero_stage: Literal[1, 2, 3]
    precision: Literal["bf16", "fp32"]
    communication_data_type: Literal["bf16", "fp32"]
    """Data type in which workers sum their gradients."""
    attention: str
    kernels: str
    """Fused kernels for RoPE, RMSNorm and SwiGLU, "auto" where the run's devices decide."""
    loss_chunk: int
    workers: tuple[int, int]
    gpus_per_worker: float
    cpus_per_worker: float
    checkpoint_every: int
    heldout_every: int
    long_threshold: int
    """Documents of more tokens are long."""
    mlp_tile: int
    """Tokens of a tile, where the MLP is tiled."""
    savers: Savers = NO_SAVERS
    """Memory savers in use."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why each derived value is what it is, by recipe key."""
    notes: tuple[str, ...] = ()
    """What the user should know before starting."""
    unknown: frozenset[str] = frozenset()
    """Keys whose values follow from data that is not ingested yet: their values here are placeholders."""

    @property
    def activation_checkpointing(self) -> bool:
        """Whether layers are recomputed in the backward pass."""
        return self.savers.activation_checkpointing

    @property
    def updates(self) -> int:
        """Optimizer updates of the whole run."""
        return sum(stage.updates for stage in self.stages)

    @property
    def tokens(self) -> int:
        """Tokens of the whole run."""
        return sum(stage.updates * stage.rows_per_update * stage.length for stage in self.stages)


def derive(recipe: Recipe, facts: ModelFacts, device: Device) -> RunPlan:
    """Fill in a recipe for one model and one kind of device. Pure arithmetic.

    Raises:
        UserError: the recipe asks for a window, positions, an update, a warm-up, a ZeRO stage or a data type that this
            model or run can't have.
    """
    dials = _Dials(recipe, facts, device)
    stages = dials.stages()
    updates = sum(stage.updates for stage in stages)
    longest = max(stage.length for stage in stages)
    precision = dials.precision()
    learning_rate = dials.learning_rate()
    micro_batch = dials.micro_batch(stages)
    loss_chunk = dials.loss_chunk()
    communication = dials.communication_data_type(precision)
    workload = Workload(
        longest,
        micro_batch[longest],
        loss_chunk,
        recipe.workers.sequence_parallel,
        communication=communication,
    )
    workload = dials.with_savers(workload, precision)
    return RunPlan(
        window=recipe.target_context,
        positions=dials.positions(),
        original=facts.positions,
        stages=stages,
        micro_batch=micro_batch,
        learning_rate=learning_rate,
        final_learning_rate=learning_rate * recipe.optimizer.final_learning_rate_fraction,
        warmup_updates=dials.warmup(updates),
        zero_stage=dials.zero_stage(precision, workload),
        precision=precision,
        communication_data_type=communication,
        attention=dials.attention(),
        kernels=dials.kernels(),
        loss_chunk=loss_chunk,
        workers=(recipe.workers.min, recipe.workers.max),
        gpus_per_worker=dials.gpus_per_worker(),
        cpus_per_worker=dials.cpus_per_worker(),
        checkpoint_every=dials.checkpoint_every(updates),
        heldout_every=dials.heldout_every(updates),
        long_threshold=dials.long_threshold(),
        mlp_tile=workload.mlp_tile or facts.hidden,
        savers=workload.savers,
        reasons=dials.reasons,
        notes=(*dials.notes, *notes_of(recipe, facts, stages)),
        unknown=frozenset(dials.unknown),
    )


class _Dials:
    """The rules, one method a key; each notes its reason."""

    def __init__(self, recipe: Recipe, facts: ModelFacts, device: Device) -> None:
        self.recipe, self.facts, self.device = recipe, facts, device
        self.reasons: dict[str, str] = {}
        self.notes: list[str] = []
        self.unknown: set[str] = set()

    def _because(self, key: str, reason: str) -> None:
        self.reasons[key] = reason

    def _because_of_updates(self, key: str, reason: str) -> None:
        """The reason of a value that is a share of the run's updates."""
        if not self.recipe.has_known_tokens:
            self.unknown.add(key)
        self._because(key, reason)

    def positions(self) -> Positions:
        asked, own = self.recipe.positions, self.facts.positions
        POSITION_ENCODINGS.require_allowed(asked.encoding, "positions.encoding")
        window, factor = self.recipe.target_context, self.recipe.target_context / self.facts.window
        if asked.encoding == "none":
            require_applicable(own, dict(self.facts.rope), window)
            self._because("positions.base", "none keeps the model's own positions")
            return own
        if window < self.facts.window:
            raise UserError(
                f"target_context: {window:,} is below the model's own window of {self.facts.window:,}; "
                f"give at least {self.facts.window:,}, or positions.encoding none, which keeps the model's positions"
            )
        base = self._base(asked.encoding, asked.base)
        chosen = Positions(asked.encoding, base, factor, self.facts.window)
        require_applicable(chosen, dict(self.facts.rope), window)
        dropped = replaced_scaling(chosen, dict(self.facts.rope))
        if dropped:
            self.notes.append(dropped)
        return chosen

    def _base(self, encoding: str, asked: float | None) -> float:
        own = self.facts.rope_base
        found = encoding_class(encoding)
        rule = found.base if found else "window_or_recipe"
        if rule == "own" and asked is not None:
            raise UserError(base_ignored(encoding, asked))
        if rule != "window_or_recipe" and asked is None:
            self._because("positions.base", f"{encoding} keeps the model's own base")
            return own
        if asked is not None:
            self._because("positions.base", "set in the recipe")
            if asked < own:
                self.notes.append(
                    f"positions.base: {asked:,.0f} is below the model's own {own:,.0f}"
                )
            return asked
        base, reason = rope_base_for(self.recipe.target_context)
        if base < own:
            base, reason = (
                own,
                f"the model's own base is already above the {base:,.0f} this window needs",
            )
        self._because("positions.base", reason)
        return base

    def stages(self) -> tuple[Stage, ...]:
        per_update = self._tokens_per_update()
        updates = self._updates(per_update)
        ends = [round(stage.until * updates) for stage in self.recipe.length_stages]
        starts = [0, *ends[:-1]]
        self._note_stages_left_out(starts, ends)
        return tuple(
            Stage(asked.length, per_update // asked.length, end - start)
            for asked, start, end in zip(self.recipe.length_stages, starts, ends, strict=True)
            if end > start
        )

    def _tokens_per_update(self) -> int:
        training, key = self.recipe.training, "training.tokens_per_update"
        if training.tokens_per_update is not None:
            self._because(key, "set in the recipe")
            return training.tokens_per_update
        self._because_of_updates(
            key,
            f"about {training.largest_update:,}, or {MIN_UPDATES} updates of a shorter run; whole rows, "
            "one for each worker",
        )
        return self.recipe.tokens_per_update

    def _updates(self, per_update: int) -> int:
        tokens, key = self.recipe.training.tokens, "training.tokens"
        if not self.recipe.has_known_tokens:
            self._because_of_updates(key, _AFTER_INGEST)
            return _PLACEHOLDER_UPDATES
        if tokens is None:
            self._because(
                key,
                f"{_DEFAULT_UPDATES:,} updates of {per_update:,} tokens; 5B tokens recover most of a long run "
                "(arXiv 2402.10171)",
            )
            return _DEFAULT_UPDATES
        self._because(key, f"{tokens:,} asked for, in whole updates of {per_update:,}")
        updates = math.ceil(tokens / per_update)
        self._check_rounding(tokens, updates * per_update, updates)
        return updates

    def _check_rounding(self, asked: int, planned: int, updates: int) -> None:
        """Refuse one update of more than twice the run; note what else is rounded up by more than a little."""
        training, percent = self.recipe.training, 100 * (planned / asked - 1)
        if planned > 2 * asked:
            shortest = math.lcm(*(stage.length for stage in self.recipe.length_stages))
            remedy = (
                f"leave it out (null), or give training.tokens at least {planned:,}"
                if training.tokens_per_update is not None
                else f"give training.tokens at least {planned:,}, or shorter rows (lengths)"
            )
            row = f"; whole rows are {shortest:,} tokens" if planned == shortest else ""
            raise UserError(
                f"training.tokens_per_update: one update of {planned:,} tokens is more than twice the whole run of "
                f"{asked:,} tokens{row}; {remedy}"
            )
        if percent > _ROUNDING_PERCENT:
            self.notes.append(
                f"training.tokens: {asked:,} is rounded up by {percent:.0f} % to {planned:,}, {updates:,} whole "
                f"update{'s' if updates > 1 else ''} of {planned // updates:,} tokens"
            )

    def _note_stages_left_out(self, starts: list[int], ends: list[int]) -> None:
        asked, updates = self.recipe.length_stages, ends[-1]
        begins = [0.0, *(stage.until for stage in asked[:-1])]
        for stage, begin, start, end in zip(asked, begins, starts, ends, strict=True):
            if start == end:
                self.notes.append(
                    f"lengths: the stage of {stage.length:,} tokens is left out: from {begin:g} to "
                    f"{stage.until:g} of {updates:,} updates rounds to no update"
                )

    def micro_batch(self, stages: tuple[Stage, ...]) -> dict[int, int]:
        asked = self.recipe.training.micro_batch
        groups = max(1, self.recipe.workers.min // self.recipe.workers.sequence_parallel)
        budget = _MICRO_BATCH_TOKENS[self.device.kind]
        shares = {stage.length: math.ceil(stage.rows_per_update / groups) for stage in stages}
        reason = "set in the recipe"
        if not asked:
            reason = f"about {budget:,} tokens in all keep a {self.device.kind} device busy"
        per_worker = ", ".join(str(share) for share in shares.values())
        if "training.tokens_per_update" in self.unknown:
            self.unknown.add("training.micro_batch")
        else:
            reason += f"; a worker has {per_worker} rows per update"
        self._because("training.micro_batch", reason)
        return {
            length: min(share, asked or max(1, budget // length))
            for length, share in shares.items()
        }

    def learning_rate(self) -> float:
        if self.recipe.optimizer.learning_rate is not None:
            self._because("optimizer.learning_rate", "set in the recipe")
            return self.recipe.optimizer.learning_rate
        large = self.facts.parameters > 20e9
        self._because(
            "optimizer.learning_rate",
            f"{self.facts.parameters / 1e9:.3g}B parameters: 2e-5 up to 20B, 1e-5 above "
            "(arXiv 2309.16039, section 2.1: 7B/13B and 34B/70B)",
        )
        return 1e-5 if large else 2e-5

    def warmup(self, updates: int) -> int:
        asked = self.recipe.optimizer.warmup_updates
        if asked is not None:
            if asked > updates and self.recipe.has_known_tokens:
                raise UserError(
                    f"optimizer.warmup_updates: {asked:,} updates of warm-up do not fit into a run of {updates:,}; "
                    f"give at most {updates:,}, leave it out (null), or raise training.tokens"
                )
            self._because("optimizer.warmup_updates", "set in the recipe")
            return asked
        warmup = min(2000, math.ceil(updates / 10))
        self._because_of_updates(
            "optimizer.warmup_updates", "2,000 as in the paper, but at most a tenth of the run"
        )
        return warmup

    def precision(self) -> Literal["bf16", "fp32"]:
        asked = self.recipe.training.precision
        if asked != "auto":
            self._because("training.precision", "set in the recipe")
            return asked
        if self.device.bf16:
            self._because(
                "training.precision",
                f"{self.device.name} computes bf16 natively; masters, moments and accumulated gradients are fp32",
            )
            return "bf16"
        self._because(
            "training.precision",
            f"{self.device.name} has no bf16 units and would emulate it many times slower",
        )
        return "fp32"

    def attention(self) -> str:
        asked, taken = self.recipe.training.attention, self.facts.attention
        if asked != "auto":
            if asked in IMPLEMENTATIONS and asked not in taken:
                raise UserError(
                    f"training.attention: {self.facts.model_type} models in transformers do not take {asked}; "
                    f"set one of {', '.join(taken)}, or leave the key out"
                )
            self._because("training.attention", "set in the recipe")
            return asked
        if missing := [name for name in IMPLEMENTATIONS[:-1] if name not in taken]:
            self._because(
                "training.attention",
                f"{self.facts.model_type} models in transformers do not take {', '.join(missing)}",
            )
            return next(name for name in taken if name in MASKED)
        self._because(
            "training.attention",
            "FlashAttention where it is available and the device is a GPU, else SDPA, by document in long rows; "
            "printed when the run starts",
        )
        return asked

    def kernels(self) -> str:
        choice = plan_kernels(self.recipe.training.kernels, self.facts.model_type)
        self._because("training.kernels", choice.reason)
        return choice.name

    def communication_data_type(self, precision: str) -> Literal["bf16", "fp32"]:
        key, asked = (
            "training.communication_data_type",
            self.recipe.training.communication_data_type,
        )
        if asked == "bf16" and precision == "fp32":
            raise UserError(
                f"{key}: bf16 would round the fp32 gradients of training.precision fp32; leave it out (null)"
            )
        self._because(key, "set in the recipe" if asked else "sums of gradients are not rounded")
        return asked or "fp32"

    def zero_stage(self, precision: str, workload: Workload) -> Literal[1, 2, 3]:
        asked, usable = self.recipe.training.zero_stage, ZERO_STAGES[precision]
        if asked is not None:
            if asked not in usable:
                raise UserError(
                    f"training.zero_stage: at stage {asked} the optimizer can't accumulate {precision} gradients in "
                    f"fp32; set training.zero_stage={usable[0]}, which resumes checkpoints of any stage, or "
                    "training.precision=fp32 for a new run"
                )
            self._because("training.zero_stage", "set in the recipe")
            return asked
        workers, memory = self.recipe.workers.min, self.device.memory
        choice = choose_zero_stage(self.facts, workload, workers, precision, memory)
        self._because("training.zero_stage", choice.reason)
        if not choice.fits:
            self.notes.append(f"training.zero_stage: {choice.reason}")
        return _STAGES[choice.stage]

    def with_savers(self, workload: Workload, precision: str) -> Workload:
        """The workload with its memory savers, which are chosen last: only what does not fit needs them."""
        key, tile = "training.mlp_tile", self.recipe.training.mlp_tile
        rule = f"ALST's rule: the model's hidden size, {self.facts.hidden:,} (arXiv 2506.13996)"
        self._because(key, rule if tile is None else "set in the recipe")
        workload = replace(workload, mlp_tile=tile or self.facts.hidden)
        choice = choose_savers(self.recipe, self.facts, self.device, precision, workload)
        self.reasons |= choice.reasons
        self.notes += choice.notes
        return replace(workload, savers=choice.savers)

    def loss_chunk(self) -> int:
        asked = self.recipe.training.loss_chunk
        if asked is not None:
            self._because("training.loss_chunk", "set in the recipe")
            return asked
        chunk = max(256, 2 ** int(math.log2(_GIBI / (4 * self.facts.vocab))))
        self._because(
            "training.loss_chunk",
            f"fp32 logits of {chunk:,} tokens over {self.facts.vocab:,} words stay under 1 GiB",
        )
        return chunk

    def gpus_per_worker(self) -> float:
        asked = self.recipe.workers.gpus_per_worker
        if asked is not None:
            self._because("workers.gpus_per_worker", "set in the recipe")
            return asked
        self._because("workers.gpus_per_worker", f"the cluster's devices are {self.device.kind}")
        return 1.0 if self.device.kind == "cuda" else 0.0

    def cpus_per_worker(self) -> float:
        asked = self.recipe.workers.cpus_per_worker
        if asked is not None:
            self._because("workers.cpus_per_worker", "set in the recipe")
            return asked
        self._because("workers.cpus_per_worker", "one logical CPU: Ray Data needs the others")
        return 1.0

    def checkpoint_every(self, updates: int) -> int:
        asked = self.recipe.training.checkpoint_every
        if asked is not None:
            self._because("training.checkpoint_every", "set in the recipe")
            return asked
        self._because_of_updates(
            "training.checkpoint_every", "a tenth of the run, at most 100 updates"
        )
        return max(1, min(100, updates // 10))

    def heldout_every(self, updates: int) -> int:
        asked = self.recipe.heldout.every
        if asked is not None:
            self._because("heldout.every", "set in the recipe")
            return asked
        self._because_of_updates("heldout.every", "a fifth of the run, at most 500 updates")
        return max(1, min(500, math.ceil(updates / 5)))

    def long_threshold(self) -> int:
        asked = self.recipe.mixture.threshold
        if asked is not None:
            self._because("mixture.threshold", "set in the recipe")
            return asked
        self._because("mixture.threshold", "the base model's own window: longer ones are long")
        return self.facts.window


_DEFAULT_UPDATES = 1000
_PLACEHOLDER_UPDATES = 1
_ROUNDING_PERCENT = 5
_AFTER_INGEST = (
    "of epochs: known once the examples are ingested and packed (the job does that first)"
)

_MICRO_BATCH_TOKENS = {"cuda": 16_384, "cpu": 2_048}

_STAGES: dict[int, Literal[1, 2, 3]] = {1: 1, 2: 2, 3: 3}
