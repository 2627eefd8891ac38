"""The settings that only Kubernetes needs: `kubernetes` in cluster/settings.yaml."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from longspan.recipe.schema import Section

PLACEHOLDER = "your-registry/longspan:2026-11"
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""As Kubernetes takes it for a namespace, a service account, a secret."""
DIGEST = "@sha256:[0-9a-f]{64}"
CAPACITY = "karpenter.sh/capacity-type"
METADATA = tuple(map(ipaddress.ip_network, ("169.254.169.254/32", "fd00:ec2::254/128")))
"""Addresses of the cloud's metadata service, which gives out the rights of the machine."""


class Placement(Section):
    """On which Kubernetes nodes pods may be."""

    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: list[dict[str, Any]] = Field(default_factory=list)
    """Of nodes' taints, as a pod's specification has them."""


def _on(capacity: str) -> Placement:
    return Placement(node_selector={CAPACITY: capacity})


def _on_gpus() -> Placement:
    return Placement(
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    )


class Egress(Section):
    """Addresses that pods may connect to, beside those that all may."""

    cidr: str
    """A network, as in 10.1.0.0/16; one address, as in 169.254.170.23/32."""
    ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(min_length=1)
    """TCP ports."""

    @field_validator("cidr")
    @classmethod
    def _a_network_without_metadata(cls, cidr: str) -> str:
        network = ipaddress.ip_network(cidr)
        if network in METADATA:
            raise ValueError(
                f"{cidr} is the metadata service, which hands out the machine's own rights; "
                "give pods rights by service_account_annotations instead"
            )
        return str(network)


class Kubernetes(Section):
    """A namespace for KubeRay's clusters."""

    namespace: Name = "longspan"
    image: str = PLACEHOLDER
    """With the project in /longspan and its environment on PATH; docs/cluster.md says how to build it.

    By digest, `registry/name@sha256:...` or `registry/name:tag@sha256:...`, pods run exactly that image. A tag alone is
    accepted with a warning: whoever can push to the registry can change what it names.
    """
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: list[Name] = Field(default_factory=list)
    service_account: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,54})$")] = "longspan"
    """First part of the names of the pods' service accounts: longspan-head, longspan-worker, longspan-serving."""
    service_account_annotations: dict[Literal["head", "worker", "serving"], dict[str, str]] = Field(
        default_factory=dict
    )
    """By account, what gives its pods their rights in S3: eks.amazonaws.com/role-arn, for example."""
    read_only_root: bool = True
    """Whether containers can write nothing but volumes; false for an image that has to."""
    headroom: float = Field(0.1, ge=0, lt=0.5)
    """Share of a machine's CPUs and memory that no pod asks for: the kubelet and other pods are there too."""
    storage_class: str | None = None
    """Of a volume of `disk` GiB for each pod's caches and spilled objects; the node's own disk when unset."""
    gpu: str = "nvidia.com/gpu"
    """The resource that GPUs are asked for by."""
    instance_type_label: str | None = "node.kubernetes.io/instance-type"
    """The node label that holds the pools' instance types; unset, a pool says by node_selector what it wants."""
    spot: Placement = Field(default_factory=lambda: _on("spot"))
    on_demand: Placement = Field(default_factory=lambda: _on("on-demand"))
    gpus: Placement = Field(default_factory=_on_gpus)
    """Added for pods with GPUs."""
    pools: dict[Literal["head", "data", "training", "training-on-demand", "serving"], Placement] = (
        Field(default_factory=dict)
    )
    """Added for the pods of a pool."""
    operator_namespace: Name = "kuberay"
    """Where KubeRay's operator runs: it asks clusters how they are."""
    clients: list[Name] = Field(default_factory=list)
    """Namespaces whose pods reach the chat service, beside its own: that of your ingress, say."""
    metrics_from: list[Name] = Field(default_factory=list)
    """Namespaces whose pods read the metrics: Prometheus's."""
    dns_namespace: Name = "kube-system"
    """Namespace of the cluster's DNS, the only one that pods ask."""
    egress: list[Egress] = Field(default_factory=list)
    """Destinations of pods besides DNS, each other and port 443 anywhere: an S3 server on another port, say."""
    recipe: str = "jobs/recipes/llama3-8b-64k.yaml"
    """What pretrain.yaml trains, as a path in the image."""
    overrides: list[str] = Field(default_factory=list)
    """key.path=value for it; storage.root is the bucket that is written."""
    retries: int = Field(3, ge=0)
    """How often a run that failed is started anew, on a new cluster; it goes on from its last checkpoint."""
    keep_minutes: int = Field(10, ge=0)
    """After so long a cluster whose job has ended goes."""
    chat: dict[str, Any] = Field(default_factory=dict)
    """Of the service, in place of what serving/chat.yaml has in args."""

    @field_validator("service_account_annotations", mode="before")
    @classmethod
    def _annotations_by_account(cls, annotations: object) -> object:
        if isinstance(annotations, dict) and any(
            isinstance(each, str) for each in annotations.values()
        ):
            raise ValueError(
                "each account has its own, for only serving pods may read API keys: "
                "{head: {KEY: VALUE}, worker: {KEY: VALUE}, serving: {KEY: VALUE}}"
            )
        return annotations

    @field_validator("image")
    @classmethod
    def _says_which_version(cls, image: str) -> str:
        if not re.fullmatch(rf"[\w.:/-]+(:[\w.-]+|{DIGEST})", image):
            raise ValueError(f"{image!r}: name a tag or a digest, as in {PLACEHOLDER}")
        if image.endswith(":latest"):
            raise ValueError(f"{image!r}: pods of one cluster would differ; name a tag or a digest")
        return image

    @property
    def has_digest(self) -> bool:
        """Whether the image is named by its content."""
        return re.search(f"{DIGEST}$", self.image) is not None
