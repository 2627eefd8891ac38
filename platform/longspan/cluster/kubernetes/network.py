"""Network policies: who may connect to the pods, and what the pods may connect to."""

from __future__ import annotations

import ipaddress

from longspan.cluster.kubernetes.objects import metadata
from longspan.cluster.kubernetes.pods import (
    AGENT_PORT,
    DASHBOARD_PORT,
    METRICS_PORT,
    SERVE_PORT,
    kubernetes_of,
    pod_labels,
)
from longspan.cluster.kubernetes.schema import METADATA, Egress
from longspan.cluster.kubernetes.security import Json
from longspan.cluster.schema import Settings
from longspan.runtime.pool import LABEL

NAMESPACE = "kubernetes.io/metadata.name"
DNS_PORT, HTTPS_PORT, API_PORT = 53, 443, 6443
NODE_DNS = "169.254.20.10/32"
"""Kubernetes' cache of DNS on each node, where there is one."""
ANYWHERE = {"0.0.0.0/0": ["169.254.0.0/16"], "::/0": ["fe80::/10", "fd00:ec2::254/128"]}
"""All addresses, and those of them that only the machine itself should ask: its metadata service among them."""


def policy(settings: Settings, component: str) -> Json:
    """The policy of all pods of a component.

    In come the component's own pods, KubeRay, what reads metrics, and who chats. Out go requests to its own pods,
    to DNS, to port 443 anywhere but on the machine itself, and to what the settings name.
    """
    found = {"podSelector": {"matchLabels": pod_labels(component)}}
    spec = {"policyTypes": ["Ingress", "Egress"], "ingress": _ingress(settings, component)}
    return _object(settings, component, found | spec | {"egress": _egress(settings, component)})


def head_egress(settings: Settings, component: str) -> Json:
    """The policy that lets the head's autoscaler reach Kubernetes' API where that is not on port 443."""
    labels = pod_labels(component) | {LABEL: "head"}
    spec = {
        "podSelector": {"matchLabels": labels},
        "policyTypes": ["Egress"],
        "egress": [_to(_anywhere(), [API_PORT])],
    }
    return _object(settings, f"{component}-head", spec)


def _ingress(settings: Settings, component: str) -> list[Json]:
    ours = kubernetes_of(settings)
    asks = [DASHBOARD_PORT, AGENT_PORT] + ([SERVE_PORT] if component == "chat" else [])
    ingress = [
        # Among themselves Ray's processes choose their ports.
        {"from": [{"podSelector": {"matchLabels": pod_labels(component)}}]},
        _from([_namespace(ours.operator_namespace)], asks),
    ]
    if component == "chat":
        clients = [{"podSelector": {}}, *map(_namespace, ours.clients)]
        ingress.append(_from(clients, [SERVE_PORT]))
    if ours.metrics_from:
        ingress.append(_from([_namespace(name) for name in ours.metrics_from], [METRICS_PORT]))
    return ingress


def _egress(settings: Settings, component: str) -> list[Json]:
    ours = kubernetes_of(settings)
    dns = [_namespace(ours.dns_namespace), {"ipBlock": {"cidr": NODE_DNS}}]
    ports = [{"protocol": protocol, "port": DNS_PORT} for protocol in ("UDP", "TCP")]
    return [
        {"to": [{"podSelector": {"matchLabels": pod_labels(component)}}]},
        {"to": dns, "ports": ports},
        # Object storage, the hub, and Kubernetes' API.
        _to(_anywhere(), [HTTPS_PORT]),
        *(_to([_named(each)], each.ports) for each in ours.egress),
    ]


def _anywhere() -> list[Json]:
    return [{"ipBlock": {"cidr": cidr, "except": apart}} for cidr, apart in ANYWHERE.items()]


def _named(egress: Egress) -> Json:
    """An address block of the settings, never with the metadata service in it."""
    network = ipaddress.ip_network(egress.cidr)
    inside = [
        str(each)
        for each in METADATA
        if each.version == network.version and network.supernet_of(each)  # type: ignore[arg-type]
    ]
    return {"ipBlock": {"cidr": egress.cidr} | ({"except": inside} if inside else {})}


def _object(settings: Settings, name: str, spec: Json) -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(settings, f"{settings.cluster}-{name}"),
        "spec": spec,
    }


def _namespace(name: str) -> Json:
    return {"namespaceSelector": {"matchLabels": {NAMESPACE: name}}}


def _from(peers: list[Json], ports: list[int]) -> Json:
    return {"from": peers, "ports": _tcp(ports)}


def _to(peers: list[Json], ports: list[int]) -> Json:
    return {"to": peers, "ports": _tcp(ports)}


def _tcp(ports: list[int]) -> list[Json]:
    return [{"protocol": "TCP", "port": port} for port in ports]
