"""Identities of runs as version 1 of checkpoints stored them: sentences, by recipe key.

Frozen: a word that is changed here makes every run of that version impossible to resume. Numbers
were rounded when they were stored, so they are compared as far as they were kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from longspan.train.identity import Difference

if TYPE_CHECKING:
    from longspan.train.identity import RunIdentity

ABSENT = "no such value"


@dataclass(frozen=True)
class SettingsV1:
    """Values that had to stay the same between the starts of a run."""

    values: dict[str, str]

    @property
    def base_model(self) -> str:
        """Address of the base model; empty where none is stored."""
        return self.values.get("base_model", "")

    def to_json(self) -> dict[str, str]:
        """A JSON value that `SettingsV1` takes."""
        return self.values

    def differences(self, current: RunIdentity) -> list[Difference]:
        """Values that a run does not share with this one, as far as they were stored."""
        now = settings_v1(current)
        return [
            Difference(key, self.values.get(key, ABSENT), now.get(key, ABSENT))
            for key in now | self.values
            if self.values.get(key) != now.get(key)
        ]


def settings_v1(run: RunIdentity) -> dict[str, str]:
    """A run's identity in the words of version 1."""
    optimizer, training = run.optimizer, run.training
    final = optimizer.learning_rate * optimizer.final_learning_rate_fraction
    settings = {
        "base_model": run.base_model,
        "target_context": f"{run.target_context:,}",
        "positions": f"{run.positions.encoding} with RoPE base {run.positions.base:,.0f}",
        "weights of corpora": ", ".join(f"{s.name} {s.weight:g}" for s in run.corpora),
        "training.seed": str(training.seed),
        "packing.method": run.packing.method,
        "packing.document_mask": "on" if run.packing.document_mask else "off",
        "training.precision": training.precision,
        "training.tokens, training.tokens_per_update or lengths": ", then ".join(
            f"{stage.updates} updates of {stage.rows_per_update} rows of {stage.length}"
            for stage in run.stages
        ),
        "optimizer": (
            f"learning rate {optimizer.learning_rate:g} to {final:g} after "
            f"{optimizer.warmup_updates} updates of warm-up, betas {optimizer.betas}, eps {optimizer.eps:g}, "
            f"weight decay {optimizer.weight_decay:g}, clipping at {optimizer.gradient_clipping:g}"
        ),
    }
    chat = [source for source in run.corpora if source.prompt_loss is not None]
    if chat or training.loss == "per_sequence":
        settings["training.loss"] = training.loss
        settings["prompt_loss of corpora"] = ", ".join(f"{s.name} {s.prompt_loss:g}" for s in chat)
    return settings
