"""The settings of a cluster, as a user writes them in cluster/settings.yaml."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from longspan.cluster.kubernetes.schema import Kubernetes
from longspan.config.file_kinds import CLUSTER, DescribedFile, Kind
from longspan.recipe.describe import ASSUMED_MFU
from longspan.recipe.schema import Section

POOLS = ("data", "training", "training_on_demand", "serving")
Role = Literal["head", "worker", "serving"]
"""IAM role of a machine: the head's, that of the data and training pools, that of the serving pool."""
ROLES: tuple[Role, ...] = ("head", "worker", "serving")
ANYWHERE = "anywhere"
"""Value of ``ssh_from`` that opens port 22 to the internet."""
LARGEST_NETWORK = 8
"""Shortest prefix of a network in ``ssh_from``: 2**24 addresses, a private 10.0.0.0/8."""
SUBNET = r"^subnet-[0-9a-z]+$"
KUBERAY_NAME = 38
"""Characters at most: 47 of a RayJob's, and the job is called CLUSTER-pretrain."""
_NAME = r"[a-z][a-z0-9-]*"


class InstanceType(Section):
    """What an EC2 instance type is, and what it costs."""

    vcpus: int = Field(ge=1)
    memory: float = Field(gt=0)
    """GiB."""
    gpus: int = Field(0, ge=0)
    gpu: str | None = None
    """As Ray names it: L4, L40S, A100, H100, ..."""
    gpu_memory: float = Field(0, ge=0)
    """GiB of one GPU."""
    efa: int = Field(0, ge=0)
    """Elastic Fabric Adapter interfaces at most."""
    on_demand: float = Field(gt=0)
    """Dollars an hour."""
    spot: float = Field(gt=0)
    """Dollars an hour, typically."""

    @model_validator(mode="after")
    def _gpus_have_a_name(self) -> InstanceType:
        if bool(self.gpus) != (self.gpu is not None) or bool(self.gpus) != bool(self.gpu_memory):
            raise ValueError("give gpus, gpu (its name) and gpu_memory (GiB) together, or none")
        return self


class Price(Section):
    """Dollars an hour in place of the table's."""

    on_demand: float | None = Field(None, gt=0)
    spot: float | None = Field(None, gt=0)


class Key(Section):
    """An EC2 key pair of your own; Ray makes one where it is left out."""

    name: str = Field(min_length=1)
    file: str
    """Its private half on the machine where `ray up` runs."""


class Bucket(Section):
    """S3 objects that the machines may access."""

    name: str
    prefix: str = ""
    """Folder that access is limited to; the whole bucket when empty."""
    access: Literal["read", "write", "control"]
    """write: read, write and delete, except API keys and version records. control: API keys and version
    records alone (``control.root`` of the chat service), which only serving machines read."""

    @field_validator("name")
    @classmethod
    def _s3_takes_the_name(cls, name: str) -> str:
        good = re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name) and ".." not in name
        if not good or re.fullmatch(r"[\d.]+", name):
            raise ValueError(
                f"{name!r} is no name of a bucket: 3 to 63 lower-case letters, digits, '-' and '.', "
                "without s3:// and without a path (that is prefix)"
            )
        return name

    @field_validator("prefix")
    @classmethod
    def _no_wildcards(cls, prefix: str) -> str:
        if re.search(r"[*?$\s]", prefix):
            raise ValueError(f"{prefix!r}: folders are meant, without wildcards and blanks")
        return prefix.strip("/")


class Machine(Section):
    """One kind of machine."""

    type: str
    """EC2 instance type."""
    disk: int = Field(200, ge=50)
    """GiB of its root volume: the environment takes 5 (CPU) or 15 (GPU), models and spilled objects the rest."""


class Pool(Machine):
    """Machines that come when there is work for them, and go when there is none."""

    min: int = Field(0, ge=0)
    max: int = Field(ge=0)
    spot: bool = False

    @model_validator(mode="after")
    def _max_is_at_least_min(self) -> Pool:
        if self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}")
        return self


class Pools(Section):
    """Which machines there may be."""

    data: Pool
    """CPU workers of Ray Data."""
    training: Pool
    training_on_demand: Pool
    """Training as well, when the first pool has as many as it may have."""
    serving: Pool
    """Serving and generation."""

    @model_validator(mode="after")
    def _the_fallback_is_not_spot(self) -> Pools:
        if self.training_on_demand.spot:
            raise ValueError("training_on_demand.spot: must be false; spot machines are training's")
        return self


class Source(Section):
    """Where nodes have the project from: this checkout, or a Git repository."""

    git: str | None = None
    """An address that nodes can fetch from without a password; this checkout is copied when unset."""
    ref: str = "main"
    """Branch, tag or commit."""


class Fabric(Section):
    """EFA between machines whose type has it: all of them in one subnet."""

    subnet: str = Field(pattern=SUBNET)
    security_group: str = Field(pattern=r"^sg-[0-9a-z]+$")
    """It must let all of its own members' traffic in and out, and SSH in."""


class Settings(DescribedFile):
    """A cluster on AWS."""

    kind: ClassVar[Kind] = CLUSTER

    cluster: str
    """Names what is made: machines' tag, roles, security group."""
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    zones: list[str] = Field(default_factory=list)
    """Availability zones in the order they are tried; all of the region when empty."""
    subnets: list[Annotated[str, Field(pattern=SUBNET)]] = Field(default_factory=list)
    """Public ones of one VPC; Ray finds some when empty."""
    image: dict[str, str] = Field(default_factory=dict)
    """AMI by region: Ubuntu 22.04 with NVIDIA's driver."""
    ssh_user: str = "ubuntu"
    ssh_from: list[str] = Field(min_length=1)
    """IPv4 networks that reach port 22, the only port that is open to the outside; [anywhere]: the internet."""
    key: Key | None = None
    buckets: list[Bucket] = Field(min_length=1)
    head_records_versions: bool = False
    """Whether the head, and so every job's driver, may write ``serving/versions/``, which
    `python -m longspan.serve deploy` does there. API keys stay with the operators."""
    head: Machine
    pools: Pools
    idle_minutes: float = Field(10, gt=0)
    """After so long without work a machine is given back."""
    install_minutes: int = Field(60, ge=10)
    """A machine whose environment is not there by then is given back."""
    source: Source = Source()
    extra_index: str | None = None
    """Package index of torch's CPU build, without a password: PyTorch's CPU wheel index, for machines without GPUs."""
    efa: Fabric | None = None
    kubernetes: Kubernetes | None = None
    """For a cluster on Kubernetes, of the same pools; nothing is rendered for it when unset."""
    mfu: float = Field(ASSUMED_MFU, gt=0, le=1)
    """Share of the GPUs' peak that training is taken to reach, for the costs; as a recipe's plan has it."""
    spot_goodput: float = Field(0.9, gt=0, le=1)
    """Share of the time on spot machines that is not lost to interruptions, for the costs."""
    prices: dict[str, Price] = Field(default_factory=dict)
    instances: dict[str, InstanceType] = Field(default_factory=dict)

    @field_validator("cluster")
    @classmethod
    def _names_roles(cls, name: str) -> str:
        if not re.fullmatch(_NAME, name) or len(name) > 40:
            raise ValueError(f"{name!r}: use up to 40 lower-case letters, digits and '-'")
        return name

    @field_validator("image")
    @classmethod
    def _images_are_images(cls, image: dict[str, str]) -> dict[str, str]:
        for region, name in image.items():
            if not re.fullmatch(r"ami-[0-9a-f]{8,17}", name):
                raise ValueError(
                    f"{region}: {name!r} is no AMI id, which look like ami-0123456789abcdef0"
                )
        return image

    @field_validator("ssh_from", mode="before")
    @classmethod
    def _one_is_a_list(cls, networks: object) -> object:
        return [networks] if isinstance(networks, str) else networks

    @field_validator("ssh_from")
    @classmethod
    def _networks_are_not_the_internet(cls, networks: list[str]) -> list[str]:
        if networks == [ANYWHERE]:
            return networks
        return [_network(each) for each in networks]

    @field_validator("extra_index")
    @classmethod
    def _no_secret_in_the_address(cls, index: str | None) -> str | None:
        if index is not None and not re.fullmatch(r"https?://[^@\s]+", index):
            raise ValueError(
                "give an http(s) address without user and password: it is in files that are kept"
            )
        return index

    @field_validator("buckets")
    @classmethod
    def _something_can_be_written(cls, buckets: list[Bucket]) -> list[Bucket]:
        if not any(bucket.access == "write" for bucket in buckets):
            raise ValueError(
                "none has access: write; checkpoints and models are written to the one of storage.root"
            )
        return buckets

    @model_validator(mode="after")
    def _zones_are_of_the_region(self) -> Settings:
        for zone in self.zones:
            if not zone.startswith(self.region):
                raise ValueError(f"zones: {zone!r} is not in region {self.region}")
        return self

    @model_validator(mode="after")
    def _kuberay_takes_the_name(self) -> Settings:
        if self.kubernetes and len(self.cluster) > KUBERAY_NAME:
            raise ValueError(
                f"cluster: {self.cluster!r} has over {KUBERAY_NAME} characters, which KubeRay does not take"
            )
        return self


def _network(network: str) -> str:
    try:
        found = ipaddress.IPv4Network(network)
    except ValueError as error:
        raise ValueError(f"{error}; 203.0.113.7/32 is one address") from None
    if found.prefixlen < LARGEST_NETWORK:
        raise ValueError(
            f"{network} opens SSH to the internet; give your own address, such as 203.0.113.7/32 "
            f"(curl https://checkip.amazonaws.com prints it), or {ANYWHERE} alone if that is intended"
        )
    return str(found)
