"""What the cluster costs, an hour and for a recipe's run. Arithmetic on written-down prices: AWS is not asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from longspan.cluster.schema import Settings
from longspan.cluster.settings import NodeType, node_types, table
from longspan.errors import UserError
from longspan.model.facts import ModelFacts
from longspan.observe.tables import table as columns
from longspan.plan.device import Device
from longspan.plan.flops import training_flops
from longspan.plan.hardware import peak_tflops, supports_bf16
from longspan.recipe.derive import RunPlan, derive
from longspan.recipe.model import facts_of
from longspan.recipe.schema import Recipe

GIBI = 2**30


@dataclass(frozen=True)
class Run:
    """A recipe's run on so many workers.

    Attributes:
        workers: how many.
        nodes: training machines that hold them.
        gpus: that compute.
        peak: operations per second of one GPU.
        mfu: the share of the peak that is taken to be reached.
        flops: operations of the whole run, attention counted as a causal model computes it.
        tokens: of the whole run.
    """

    workers: int
    nodes: int
    gpus: float
    peak: float
    mfu: float
    flops: float
    tokens: int

    @property
    def tokens_per_second(self) -> float:
        """Of all GPUs together."""
        return self.tokens / (self.hours * 3600)

    @property
    def hours(self) -> float:
        """From the first update to the last, when nothing stands in its way."""
        return self.flops / (self.gpus * self.peak * self.mfu) / 3600


def runs_of(recipe: Recipe, settings: Settings) -> list[Run]:
    """How long a recipe trains on the training pool's machines, with its fewest and its most workers.

    Raises:
        UserError: the recipe does not state its model's shape, its GPU's peak is not known, or its
            workers fit no machine.
    """
    node = _training(settings)
    plan = _plan(recipe, node)
    name = f"NVIDIA {node.instance.gpu}"
    peak = peak_tflops(name, plan.precision)
    if peak is None:
        raise UserError(
            f"{node.key}.type: no {plan.precision} peak is known for {name} ({node.machine.type}), so no time either"
        )
    flops = training_flops(_facts(recipe), plan.stages).causal
    return [
        Run(
            workers,
            math.ceil(workers / workers_per_node(plan, node)),
            workers * plan.gpus_per_worker,
            peak * 1e12,
            settings.mfu,
            flops,
            plan.tokens,
        )
        for workers in sorted(set(plan.workers))
    ]


def workers_per_node(plan: RunPlan, node: NodeType) -> int:
    """How many of a plan's workers one machine holds.

    Raises:
        UserError: none, or the workers have no GPU.
    """
    if not plan.gpus_per_worker:
        raise UserError(
            "workers.gpus_per_worker: 0, and the training machines are there for their GPUs"
        )
    by_gpus = int(node.instance.gpus / plan.gpus_per_worker)
    fits = min(by_gpus, int(node.instance.vcpus / plan.cpus_per_worker))
    if not fits:
        raise UserError(
            f"workers: one takes {plan.gpus_per_worker:g} GPUs and {plan.cpus_per_worker:g} CPUs, and "
            f"{node.machine.type} ({node.key}.type) has {node.instance.gpus} and {node.instance.vcpus}"
        )
    return fits


def problems(recipe: Recipe, settings: Settings) -> list[str]:
    """Why a recipe could not run on this cluster."""
    node = _training(settings)
    plan = _plan(recipe, node)
    pools = [each for each in node_types(settings) if each.pool == "training"]
    room = sum(each.most * workers_per_node(plan, each) for each in pools)
    found = []
    if plan.workers[1] > room:
        spoken = " and ".join(f"{each.key}.max {each.most}" for each in pools)
        found.append(
            f"workers.max: the recipe takes up to {plan.workers[1]} workers, and there is room for {room} "
            f"({spoken}); raise pools.training.max, or lower workers.max"
        )
    return found + _out_of_reach(recipe, settings)


def cost_text(recipe: Recipe, settings: Settings) -> str:
    """All numbers with their reasons, ready to print.

    Raises:
        UserError: as :func:`runs_of`.
    """
    runs = runs_of(recipe, settings)
    where = (
        "" if settings.region in table().regions else f", which are not those of {settings.region}"
    )
    parts = [
        f"Cost of {recipe.name!r} on cluster {settings.cluster!r} ({settings.region})",
        columns(_hour_rows(settings), header=_HOUR_HEADER),
        columns(_run_rows(runs[-1], settings)),
        columns(
            [row for run in runs for row in _dollar_rows(run, settings)],
            header=("workers", "tokens/s", "market", "hours", "dollars", ""),
        ),
        f"Note: prices of {', '.join(table().regions)} as of {table().as_of}{where}; approximate: set prices to AWS's",
        "Note: a run's dollars are without disks, S3, traffic, data and serving machines, and the time to start them",
    ]
    return "\n\n".join(parts)


_HOUR_HEADER = (
    "machines",
    "type",
    "market",
    "$ an hour",
    "least",
    "most",
    "$ at least",
    "$ at most",
)


def _hour_rows(settings: Settings) -> list[tuple[str, ...]]:
    nodes = node_types(settings)
    rows = [
        (
            node.name,
            node.machine.type,
            "spot" if node.spot else "on-demand",
            f"{node.price:,.2f}",
            str(node.least),
            str(node.most),
            f"{node.least * node.price:,.2f}",
            f"{node.most * node.price:,.2f}",
        )
        for node in nodes
    ]
    least = sum(node.least * node.price for node in nodes)
    most = sum(node.most * node.price for node in nodes)
    return [*rows, ("all", "", "", "", "", "", f"{least:,.2f}", f"{most:,.2f}")]


def _run_rows(run: Run, settings: Settings) -> list[tuple[str, ...]]:
    node = _training(settings)
    per_token = run.flops / run.tokens
    return [
        ("tokens", f"{run.tokens:,}", "training.tokens, in whole updates"),
        ("operations", f"{run.flops:.3g}", f"causal attention; {per_token:.3g} a token"),
        ("peak", f"{run.peak / 1e12:g} TFLOP/s", f"of one {node.instance.gpu}, dense"),
        ("mfu", f"{run.mfu:.0%}", "of the peak, assumed (mfu in the settings)"),
        ("kept", f"{settings.spot_goodput:.0%}", "of the time on spot, assumed (spot_goodput)"),
        (
            "tokens/s",
            f"{run.tokens_per_second:,.0f}",
            f"{run.gpus:g} x peak x mfu / operations a token",
        ),
    ]


def _dollar_rows(run: Run, settings: Settings) -> list[tuple[str, ...]]:
    node = _training(settings)
    head = node_types(settings)[0].price
    rows: list[tuple[str, ...]] = []
    for market, price, kept in (
        ("spot", node.instance.spot, settings.spot_goodput),
        ("on-demand", node.instance.on_demand, 1.0),
    ):
        hours = run.hours / kept
        rows.append(
            (
                str(run.workers),
                f"{run.tokens_per_second * kept:,.0f}",
                market,
                f"{hours:,.1f}",
                f"{hours * (run.nodes * price + head):,.0f}",
                f"{run.nodes} x {node.machine.type} at ${price:,.2f}, the head at ${head:,.2f}",
            )
        )
    return rows


def _training(settings: Settings) -> NodeType:
    return next(node for node in node_types(settings) if node.key == "pools.training")


def _plan(recipe: Recipe, node: NodeType) -> RunPlan:
    gpu, memory = f"NVIDIA {node.instance.gpu}", int(node.instance.gpu_memory * GIBI)
    instance = node.instance
    device = Device(
        "cuda",
        gpu,
        memory,
        supports_bf16(gpu),
        assumed=True,
        per_node=instance.gpus,
        node_memory=int(instance.memory * GIBI),
    )
    return derive(recipe, _facts(recipe), device)


def _facts(recipe: Recipe) -> ModelFacts:
    if recipe.architecture is None:
        raise UserError(
            "architecture: needed for the cost, for no model is looked at: give the shape of "
            f"{recipe.base_model!r}, as jobs/recipes/llama3-8b-64k.yaml does"
        )
    return facts_of(recipe.architecture)


def _out_of_reach(recipe: Recipe, settings: Settings) -> list[str]:
    """Where the machines' roles would not let the recipe read or write."""
    root = recipe.storage.root
    wanted = [("storage.root", root, True)]
    for corpus in recipe.corpora:
        paths = [corpus.path] if isinstance(corpus.path, str) else corpus.path
        wanted += [(f"corpora.{corpus.name}.path", path, False) for path in paths if "://" in path]
    return [
        f"{key}: {place!r} is not in a bucket that the settings let machines {'write' if writes else 'read'}"
        for key, place, writes in wanted
        if not any(
            _holds(f"s3://{bucket.name}/{bucket.prefix}", place)
            for bucket in settings.buckets
            if bucket.access == "write" or not writes
        )
    ]


def _holds(folder: str, place: str) -> bool:
    return f"{place.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")
