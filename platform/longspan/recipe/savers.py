"""Memory savers of a run: those that the recipe sets, or the cheapest set with which a worker's memory suffices."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING

from longspan.errors import UserError
from longspan.parallel.limits import ATTENTION as SHAREABLE
from longspan.plan.memory import USABLE, Workload, choose_zero_stage, worker_memory
from longspan.plan.savers import Savers, cheapest_first
from longspan.recipe.host_memory import host_fits, require_host_memory

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts
    from longspan.plan.device import Device
    from longspan.plan.memory import WorkerMemory
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
    does not fit with them; otherwise the cheapest set that fits (see :func:`longspan.plan.savers.cheapest_first`),
    on the devices and in the host memory of their nodes.

    Raises:
        UserError: the recipe sets one that this model, device, checkpointing or ZeRO stage does not allow, or whose
            host memory no node has.
    """
    asked = {name: getattr(recipe.training, name) for name in NAMES}
    refused = {name: (problem, remedy) for name, problem, remedy in _refused(recipe, facts, device)}
    for name, (problem, remedy) in refused.items():
        if asked[name]:
            raise UserError(f"training.{name}: {problem}; {remedy}")

    workers = recipe.workers.min

    def memory(savers: Savers, stage: int) -> WorkerMemory:
        used = replace(workload, savers=savers)
        return worker_memory(facts, used, stage, workers, precision)

    def estimate(savers: Savers) -> tuple[int, bool]:
        """ZeRO stage, and whether a device's and a node's memory suffice."""
        if recipe.training.zero_stage is not None:
            stage = recipe.training.zero_stage
            fits = memory(savers, stage).total <= USABLE * device.memory
        else:
            used = replace(workload, savers=savers)
            choice = choose_zero_stage(facts, used, workers, precision, device.memory)
            stage, fits = choice.stage, choice.fits
        return stage, fits and host_fits(memory(savers, stage), recipe, device)

    allowed = [savers for savers in cheapest_first() if _is_allowed(savers, asked, refused)]
    fitting = next((savers for savers in allowed if estimate(savers)[1]), None)
    savers = fitting or allowed[0]
    unused = "not needed: the estimate fits without it" if fitting else "no set of savers suffices"
    reasons = dict.fromkeys(NAMES, unused)
    stage, _ = estimate(savers)
    require_host_memory(memory(savers, stage), savers, recipe, device)
    for name in savers.used:
        reasons[name] = _reason(name, savers, partial(memory, stage=stage))
    reasons |= {name: f"not available: {problem}" for name, (problem, _) in refused.items()}
    reasons |= {name: "set in the recipe" for name in NAMES if asked[name] is not None}
    by_key = {f"training.{name}": reason for name, reason in reasons.items()}
    return SaverChoice(savers, by_key, tuple(_notes(savers, device)))


def available_savers(recipe: Recipe, facts: ModelFacts, device: Device) -> Savers:
    """All savers that can be used with a recipe's model and devices."""
    refused = {name for name, *_ in _refused(recipe, facts, device)}
    return Savers(**{name: name not in refused for name in NAMES})


def _reason(name: str, savers: Savers, memory: Callable[[Savers], WorkerMemory]) -> str:
    """Reason for one of the savers that are used."""
    if name == "activation_checkpointing" and savers.offload_activations:
        return "for training.offload_activations"
    return _why(memory(savers), memory(replace(savers, **{name: False})))


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


def _refused(recipe: Recipe, facts: ModelFacts, device: Device) -> Iterator[tuple[str, str, str]]:
    """Savers that cannot be used: name, problem, and what to do."""
    if problem := _why_not_headwise(recipe, facts):
        yield "headwise_attention", problem, "leave it out"
    if facts.untiled_mlp:
        yield "tiled_mlp", facts.untiled_mlp, "set it to false"
    if device.kind == "cpu":
        problem = "the workers are CPUs, which have activations in host memory already"
        yield "offload_activations", problem, "leave it out"
    elif recipe.training.activation_checkpointing is False:
        problem = "only the inputs of checkpointed layers are offloaded"
        yield "offload_activations", problem, "set training.activation_checkpointing=true"
    stage = recipe.training.zero_stage
    if stage in (1, 2):
        problem = f"ZeRO stage {stage} (training.zero_stage) shards no weights"
        yield "offload_parameters", problem, "set training.zero_stage=3"


def _why_not_headwise(recipe: Recipe, facts: ModelFacts) -> str | None:
    """Reason why heads cannot take turns in a model's attention, or None."""
    attention = recipe.training.attention
    if attention not in ("auto", *SHAREABLE):
        return f"training.attention {attention} computes all heads at once"
    if not facts.shares_rows or not any(name in SHAREABLE for name in facts.attention):
        return f"{facts.model_type} models do not compute attention by a function that heads can be divided in"
    return None


def _notes(savers: Savers, device: Device) -> Iterator[str]:
    if device.kind == "cpu":
        for name in savers.used:
            if name.startswith("offload_"):
                yield f"training.{name}: the workers are CPUs, so it frees no memory"
