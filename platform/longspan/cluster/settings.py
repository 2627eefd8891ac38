"""From cluster/settings.yaml to settings whose instance types are known."""

from __future__ import annotations

import difflib
import functools
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import Field

from longspan.cluster.schema import ANYWHERE, POOLS, InstanceType, Machine, Pool, Role, Settings
from longspan.config.load import load, parse
from longspan.errors import UserError
from longspan.recipe.schema import Section
from longspan.runtime.pool import LABEL

SETTINGS = Path("cluster/settings.yaml")
SPOT_FIRST = 10
PLACEHOLDER = "ami-00000000000000000"
DOCUMENTATION = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
"""Addresses that nobody has: RFC 5737."""
FIND_IMAGE = (
    "aws ssm get-parameter --region {region} --query Parameter.Value --output text --name "
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
)


class Table(Section):
    """The dated table of instance types that comes with the project."""

    as_of: str
    regions: list[str]
    """Where its prices hold."""
    types: dict[str, InstanceType] = Field(min_length=1)


@dataclass(frozen=True)
class NodeType:
    """One kind of node of the cluster.

    Attributes:
        name: as Ray knows it.
        pool: what a job asks for, by the label `longspan.io/pool`.
        key: where the settings speak of it.
        machine: its settings.
        instance: what its instance type is.
        spot: whether it may be taken away.
        most: how many there may be.
        least: how many there always are.
    """

    name: str
    pool: str
    key: str
    machine: Machine
    instance: InstanceType
    spot: bool
    least: int
    most: int

    @property
    def role(self) -> Role:
        """The IAM role of its machines."""
        if self.name == "head":
            return "head"
        return "serving" if self.pool == "serving" else "worker"

    @property
    def price(self) -> float:
        """Dollars an hour."""
        return self.instance.spot if self.spot else self.instance.on_demand

    @property
    def labels(self) -> dict[str, str]:
        """Ray's, by which a job asks for its kind of node."""
        labels = {
            LABEL: self.pool,
            "ray.io/market-type": "spot" if self.spot else "on-demand",
        }
        return labels | (
            {"ray.io/accelerator-type": self.instance.gpu} if self.instance.gpu else {}
        )

    @property
    def resources(self) -> dict[str, int]:
        """Ray's; the head has none, for no task is to run beside Ray's own services."""
        if self.name == "head":
            return {"CPU": 0, "GPU": 0}
        resources = {"CPU": self.instance.vcpus, "GPU": self.instance.gpus}
        return resources | (
            {f"accelerator_type:{self.instance.gpu}": 1} if self.instance.gpu else {}
        )

    @property
    def priority(self) -> int:
        """Which the autoscaler starts first, where several would do."""
        return SPOT_FIRST if self.spot else 0


@functools.cache
def table() -> Table:
    """The project's own table."""
    text = Path(__file__).with_name("instances.yaml").read_text(encoding="utf-8")
    return parse(Table, yaml.safe_load(text))


def load_settings(path: str | Path = SETTINGS, overrides: Sequence[str] = ()) -> Settings:
    """Read the settings and change some of them (``key.path=value``).

    Raises:
        UserError: there is no such file, a value is not valid, or an instance type is not known or
            cannot do what its pool is for.
    """
    return checked(load(Settings, path, overrides))


def checked(settings: Settings) -> Settings:
    """The same settings, once all instance types are known to fit.

    Raises:
        UserError: one is not known, or has no GPU where one is needed.
    """
    for node in node_types(settings):
        if node.pool in ("training", "serving") and not node.instance.gpus:
            raise UserError(
                f"{node.key}.type: {node.machine.type} has no GPU, which {node.pool} needs; "
                f"known types that have: {', '.join(_with_gpus(settings))}"
            )
    return settings


def node_types(settings: Settings) -> list[NodeType]:
    """The head first, then the pools.

    Raises:
        UserError: an instance type is not known.
    """
    head = NodeType(
        "head",
        "head",
        "head",
        settings.head,
        instance_of(settings, settings.head.type, "head.type"),
        spot=False,
        least=1,
        most=1,
    )
    return [head, *(_of_pool(settings, name) for name in POOLS)]


def instance_of(settings: Settings, name: str, key: str) -> InstanceType:
    """What an instance type is, with the settings' own prices.

    Raises:
        UserError: it is neither in the table nor in the settings.
    """
    known = _known(settings)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known)
        raise UserError(
            f"{key}: {name!r} is not in the table of instance types; the nearest known: "
            f"{', '.join(close)}. Add it to the settings, for example instances: {{{name}: {{vcpus: 8, "
            "memory: 32, gpus: 1, gpu: L4, gpu_memory: 24, on_demand: 1.0, spot: 0.5}}"
        )
    own = settings.prices.get(name)
    prices = own.model_dump(exclude_none=True) if own else {}
    return known[name].model_copy(update=prices)


def image_of(settings: Settings) -> str:
    """The AMI of the region.

    Raises:
        UserError: none is given.
    """
    image = settings.image.get(settings.region)
    if image is None:
        given = ", ".join(settings.image) or "none"
        raise UserError(
            f"image: there is no AMI for region {settings.region} (given: {given}); the newest one that "
            f"fits:\n  {FIND_IMAGE.format(region=settings.region)}"
        )
    return image


def unfilled(settings: Settings) -> list[str]:
    """Placeholders of the example that AWS would take without complaint, a line for each."""
    found = []
    if settings.image.get(settings.region) == PLACEHOLDER:
        how = FIND_IMAGE.format(region=settings.region)
        found.append(
            f"image: still the placeholder; put yours there, the newest one that fits: {how}"
        )
    if documented := [each for each in settings.ssh_from if _is_documentation(each)]:
        found.append(
            f"ssh_from: {', '.join(documented)} is an address for examples, so nobody could log in; "
            "give your own (curl https://checkip.amazonaws.com prints it)"
        )
    return found


def require_filled_in(settings: Settings) -> None:
    """Check that no placeholder of the example is left.

    Raises:
        UserError: one is.
    """
    image_of(settings)
    if found := unfilled(settings):
        raise UserError("\n".join(found))


def _is_documentation(network: str) -> bool:
    if network == ANYWHERE:
        return False
    return any(
        ipaddress.IPv4Network(network).subnet_of(ipaddress.IPv4Network(example))
        for example in DOCUMENTATION
    )


def _of_pool(settings: Settings, name: str) -> NodeType:
    pool: Pool = getattr(settings.pools, name)
    key = f"pools.{name}"
    instance = instance_of(settings, pool.type, f"{key}.type")
    return NodeType(
        name.replace("_", "-"),
        name.removesuffix("_on_demand"),
        key,
        pool,
        instance,
        pool.spot,
        pool.min,
        pool.max,
    )


def _known(settings: Settings) -> dict[str, InstanceType]:
    return table().types | settings.instances


def _with_gpus(settings: Settings) -> list[str]:
    return [name for name, instance in _known(settings).items() if instance.gpus]
