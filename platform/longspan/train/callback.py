"""Callbacks: code of a user that every worker calls in the training loop."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longspan.errors import UserError
from longspan.extensions.options import validated
from longspan.extensions.points import CALLBACKS

if TYPE_CHECKING:
    from torch import nn

    from longspan.recipe.schema import Recipe
    from longspan.stream.batch import Batch
    from longspan.train.engine import UpdateStats

_METRIC = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")


@dataclass(frozen=True)
class Training:
    """A run as one of its workers sees it.

    Attributes:
        model: the model under DeepSpeed; with ZeRO 3 each worker holds parts of its parameters.
        rank: number of this worker, 0 first.
        world_size: number of workers.
        first_update: updates done when this start of the workers began.
        updates: updates of the whole run.
        log: shows a line to whoever watches the job; silent on all workers but the first.
    """

    model: nn.Module
    rank: int
    world_size: int
    first_update: int
    updates: int
    log: Callable[[str], None]


@dataclass(frozen=True)
class Update:
    """One optimizer update that has just been done.

    Attributes:
        number: updates done, this one included.
        stats: loss, gradient norm and tokens, summed over all workers.
        batch: this worker's rows.
    """

    number: int
    stats: UpdateStats
    batch: Batch


class Callback:
    """Base of callbacks. Parameters of the constructor are options, which the recipe sets.

    All workers call each method at the same point, so that collective operations are possible. A callback that raises
    ends the run. What it does to the model, or to random states, is not undone when a run is resumed.
    """

    def on_start(self, training: Training) -> None:
        """The model is built and restored; no update is done since."""

    def on_update(self, training: Training, update: Update) -> Mapping[str, float] | None:
        """An update is done. Returned numbers (the first worker's) go to all trackers, as `callback/<name>`."""

    def on_end(self, training: Training) -> None:
        """All updates of the run are done; the model is exported next."""


class Callbacks:
    """The callbacks of a recipe, called in its order."""

    def __init__(self, recipe: Recipe, training: Training) -> None:
        """Make the callbacks.

        Raises:
            UserError: one cannot be imported in this worker.
        """
        self._training = training
        self._callbacks: list[tuple[str, Callback]] = []
        for choice in recipe.callbacks:
            key = f"callbacks.{choice.name}"
            found = CALLBACKS.load(choice.name, key)
            options = validated(found, choice.options, f"{key}.options")
            self._callbacks.append((key, found(**options)))

    def on_start(self) -> None:
        """Call `on_start` of all."""
        for key, callback in self._callbacks:
            _call(f"{key}.on_start", lambda each=callback: each.on_start(self._training))

    def on_update(self, update: Update) -> dict[str, float]:
        """Call `on_update` of all; returns their numbers by name.

        Raises:
            UserError: one raises, or returns something else than numbers by name.
        """
        metrics: dict[str, float] = {}
        for key, callback in self._callbacks:
            where = f"{key}.on_update"
            found = _call(where, lambda each=callback: each.on_update(self._training, update))
            metrics |= _checked(found, where)
        return metrics

    def on_end(self) -> None:
        """Call `on_end` of all."""
        for key, callback in self._callbacks:
            _call(f"{key}.on_end", lambda each=callback: each.on_end(self._training))


def _call(where: str, action: Callable[[], Any]) -> Any:
    """Call a method; what it raises becomes the user's error, with its place in the code."""
    try:
        return action()
    except UserError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"{where}: {type(error).__name__}: {error} ({frame.filename}, line {frame.lineno}); fix the callback, or "
            "leave it out of the recipe, and re-run the same command to resume"
        ) from error


def _checked(found: Any, where: str) -> dict[str, float]:
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise UserError(
            f"{where}: returned a {type(found).__name__}; return numbers by name, or None"
        )
    for name, value in found.items():
        if not (isinstance(name, str) and _METRIC.fullmatch(name)):
            raise UserError(
                f"{where}: {name!r} is no name of a metric; use letters, digits, _ . / -"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(
                f"{where}: {name} is a {type(value).__name__}; return a float (for a tensor: value.item())"
            )
    return {name: float(value) for name, value in found.items()}
