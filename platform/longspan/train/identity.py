"""Identity of a run: the values that must not change between its starts, stored in every checkpoint.

The fields mirror the recipe, so that the path of a field is the recipe key to name in a message.
Values are stored and compared exactly; they become text only in messages.

A field that is added later needs a default that says what runs did before it existed, and another
`SCHEMA_VERSION`, so that an older version of the code refuses a record that it does not understand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from longspan.config.section import Section
from longspan.errors import UserError

if TYPE_CHECKING:
    from longspan.recipe.derive import RunPlan
    from longspan.recipe.schema import Recipe
    from longspan.train.data.row_sources import Source

SCHEMA_VERSION = 2
"""Version 1 were sentences, see :mod:`.identity_v1`."""

LENGTHS_KEY = "training.tokens, training.tokens_per_update or lengths"


@dataclass(frozen=True)
class Difference:
    """A value that two runs do not share.

    Attributes:
        key: the recipe key that sets it.
        saved: the stored run's value, as text.
        current: the other run's value, as text.
    """

    key: str
    saved: str
    current: str


class SourceIdentity(Section):
    """One source of rows."""

    name: str
    weight: float
    prompt_loss: float | None
    """Loss weight of prompt tokens; None for text."""
    pack: bool
    data: str
    """Fingerprint of its token shards."""


class PositionsIdentity(Section):
    """Position encoding of the trained model."""

    encoding: str
    base: float


class PackingIdentity(Section):
    """How documents become rows."""

    method: str
    document_mask: bool


class TrainingIdentity(Section):
    """Values of the recipe's section ``training``."""

    seed: int
    precision: str
    loss: Literal["per_token", "per_sequence"]


class OptimizerIdentity(Section):
    """AdamW and its schedule."""

    learning_rate: float
    final_learning_rate_fraction: float
    warmup_updates: int
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    gradient_clipping: float


class StageIdentity(Section):
    """Updates whose rows have one length."""

    updates: int
    rows_per_update: int
    length: int


class RunIdentity(Section):
    """The values that must not change between the starts of a run, except the order of its rows."""

    schema_version: int = SCHEMA_VERSION
    base_model: str
    target_context: int
    positions: PositionsIdentity
    corpora: tuple[SourceIdentity, ...]
    packing: PackingIdentity
    training: TrainingIdentity
    optimizer: OptimizerIdentity
    stages: tuple[StageIdentity, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads; floats keep every bit."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> RunIdentity:
        """Inverse of `to_json`.

        Raises:
            UserError: a newer version of the code has written it.
            ValueError: it is not an identity of this version.
        """
        if value["schema_version"] > SCHEMA_VERSION:
            raise UserError(
                f"name: the run's checkpoint was written by a newer version of Longspan (schema version "
                f"{value['schema_version']}, this one reads up to {SCHEMA_VERSION}); use that version, "
                "or choose another name"
            )
        return cls.model_validate(value)

    def differences(self, current: RunIdentity) -> list[Difference]:
        """All values that another run does not share with this one."""
        return differences(dict(_by_key(self)), dict(_by_key(current)))


def run_identity(recipe: Recipe, plan: RunPlan, sources: Sequence[Source]) -> RunIdentity:
    """Identity of a run.

    Args:
        recipe: with every weight known.
        plan: what was derived from it.
        sources: where its rows come from.
    """
    optimizer = recipe.optimizer
    return RunIdentity(
        base_model=recipe.base_model,
        target_context=plan.window,
        positions=PositionsIdentity(encoding=plan.positions.encoding, base=plan.positions.base),
        corpora=tuple(
            SourceIdentity(
                name=source.name,
                weight=source.weight,
                prompt_loss=source.prompt_loss if source.chat else None,
                pack=not source.alone,
                data=source.manifest.fingerprint,
            )
            for source in sources
        ),
        packing=PackingIdentity(
            method=recipe.packing.method, document_mask=recipe.packing.document_mask
        ),
        training=TrainingIdentity(
            seed=recipe.training.seed, precision=plan.precision, loss=recipe.training.loss
        ),
        optimizer=OptimizerIdentity(
            learning_rate=plan.learning_rate,
            final_learning_rate_fraction=optimizer.final_learning_rate_fraction,
            warmup_updates=plan.warmup_updates,
            betas=optimizer.betas,
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
            gradient_clipping=optimizer.gradient_clipping,
        ),
        stages=tuple(
            StageIdentity(
                updates=stage.updates, rows_per_update=stage.rows_per_update, length=stage.length
            )
            for stage in plan.stages
        ),
    )


def differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[Difference]:
    """Values by recipe key that differ.

    Keys of a source that only one side has are left out: the list of sources differs then.
    """
    return [
        Difference(key, in_words(saved[key]), in_words(value))
        for key, value in current.items()
        if key in saved and saved[key] != value
    ]


def in_words(value: Any) -> str:
    """A value in a message; different numbers never become the same text."""
    match value:
        case bool():
            return "on" if value else "off"
        case int():
            return f"{value:,}"
        case float() if value.is_integer() and abs(value) < 1e15:
            return f"{value:,.0f}"
        case float():
            return repr(value)
        case StageIdentity():
            updates = _counted(value.updates, "update")
            return (
                f"{updates} of {_counted(value.rows_per_update, 'row')} of {value.length:,} tokens"
            )
        case None:
            return "none"
        case tuple() if value and isinstance(value[0], StageIdentity):
            return ", then ".join(map(in_words, value))
        case tuple():
            return ", ".join(map(in_words, value))
        case _:
            return str(value)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _by_key(identity: RunIdentity) -> Iterator[tuple[str, Any]]:
    """Values by recipe key."""
    for name, value in identity:
        if name == "corpora":
            yield "corpora", tuple(source.name for source in identity.corpora)
            for source in identity.corpora:
                yield from _source_by_key(source)
        elif name == "stages":
            yield LENGTHS_KEY, value
        elif isinstance(value, Section):
            yield from ((f"{name}.{key}", each) for key, each in value)
        elif name != "schema_version":
            yield name, value


def _source_by_key(source: SourceIdentity) -> Iterator[tuple[str, Any]]:
    key = f"corpora.{source.name}"
    for name, value in source:
        if name == "data":
            yield key, f"data with fingerprint {value}"
        elif name != "name":
            yield f"{key}.{name}", value
