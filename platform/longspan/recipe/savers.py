"""Memory savers of a run: those that the recipe sets, or the cheapest set with which a worker's memory suffices."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from longspan.errors import UserError
from longspan.plan.memory import USABLE, Workload, choose_zero_stage, worker_memory
from longspan.plan.savers import Savers, cheapest_first

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts
    from longspan.plan.memory import WorkerMemory
    from longspan.recipe.device import Device
    from longspan.recipe.schema import Recipe

NAMES = tuple(field.name for field in fields(Savers))
_GIBI = 2**30


@dataclass(frozen=True)
class SaverChoice:
    """Memory savers, with what to print about them."""

    savers: Savers
    reasons: dict[str, str]
    """By recipe key."""
    notes: tuple[str, ...]


def choose_savers(
    recipe: Recipe, facts: ModelFacts, device: Device, precision: str, workload: Workload
) -> SaverChoice:
    """Memory savers of a run, from its workload without savers.

    A saver that the recipe sets, on or off, stays so. Of the others none is used if the estimate fits without them or
    does not fit with them; otherwise the cheapest set that fits (see :func:`longspan.plan.savers.cheapest_first`).

    Raises:
        UserError: the recipe sets one that this model, device, checkpointing or ZeRO stage does not allow.
    """
    asked = {name: getattr(recipe.training, name) for name in NAMES}
    refused = {
        name: (problem, remedy)
        for name, problem, remedy in _refused(recipe, facts, device, workload)
    }
    for name, (problem, remedy) in refused.items():
        if asked[name]:
            raise UserError(f"training.{name}: {problem}; {remedy}")

    workers = recipe.workers.min

    def memory(savers: Savers, stage: int) -> WorkerMemory:
        used = replace(workload, savers=savers)
        return worker_memory(facts, used, stage, workers, precision)

    def estimate(savers: Savers) -> tuple[int, bool]:
        """ZeRO stage, and whether a worker's memory suffices."""
        if recipe.training.zero_stage is not None:
            stage = recipe.training.zero_stage
            return stage, memory(savers, stage).total <= USABLE * device.memory
        used = replace(workload, savers=savers)
        choice = choose_zero_stage(facts, used, workers, precision, device.memory)
        return choice.stage, choice.fits

    allowed = [savers for savers in cheapest_first() if _is_allowed(savers, asked, refused)]
    fitting = next((savers for savers in allowed if estimate(savers)[1]), None)
    savers = fitting or allowed[0]
    unused = "not needed: the estimate fits without it" if fitting else "no set of savers suffices"
    reasons = dict.fromkeys(NAMES, unused)
    stage, _ = estimate(savers)
    for name in savers.used:
        without = replace(savers, **{name: False})
        reasons[name] = _why(memory(savers, stage), memory(without, stage))
    reasons |= {name: f"not available: {problem}" for name, (problem, _) in refused.items()}
    reasons |= {name: "set in the recipe" for name in NAMES if asked[name] is not None}
    by_key = {f"training.{name}": reason for name, reason in reasons.items()}
    return SaverChoice(savers, by_key, tuple(_notes(savers, device)))


def _why(used: WorkerMemory, unused: WorkerMemory) -> str:
    """Reason for a saver, from a worker's memory with and without it."""
    freed, taken = unused.total - used.total, used.host.total - unused.host.total
    host = f" and takes {taken / _GIBI:.1f} GiB of host memory per worker" if taken else ""
    return f"the estimate does not fit without it; it frees {freed / _GIBI:.1f} GiB{host}"


def _is_allowed(savers: Savers, asked: Mapping[str, bool | None], refused: Container[str]) -> bool:
    """Whether savers are as asked, and none that nobody asked for is refused."""
    return all(
        getattr(savers, name) == wanted
        if wanted is not None
        else not (getattr(savers, name) and name in refused)
        for name, wanted in asked.items()
    )


def _refused(
    recipe: Recipe, facts: ModelFacts, device: Device, workload: Workload
) -> Iterator[tuple[str, str, str]]:
    """Savers that cannot be used: name, problem, and what to do."""
    if facts.untiled_mlp:
        yield "tiled_mlp", facts.untiled_mlp, "set it to false"
    if device.kind == "cpu":
        problem = "the workers are CPUs, which have activations in host memory already"
        yield "offload_activations", problem, "leave it out"
    elif not workload.activation_checkpointing:
        problem = "only the inputs of checkpointed layers are offloaded"
        yield "offload_activations", problem, "set training.activation_checkpointing=true"
    stage = recipe.training.zero_stage
    if stage in (1, 2):
        problem = f"ZeRO stage {stage} (training.zero_stage) shards no weights"
        yield "offload_parameters", problem, "set training.zero_stage=3"


def _notes(savers: Savers, device: Device) -> Iterator[str]:
    if device.kind == "cpu":
        for name in savers.used:
            if name.startswith("offload_"):
                yield f"training.{name}: the workers are CPUs, so it frees no memory"
