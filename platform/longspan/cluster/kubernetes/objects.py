"""What stands beside a Ray cluster: the namespace and its account, what may be evicted, who reaches which port."""

from __future__ import annotations

from longspan.cluster.kubernetes.pods import (
    AGENT_PORT,
    DASHBOARD_PORT,
    METRICS_PORT,
    SERVE_PORT,
    Json,
    kubernetes_of,
    pod_labels,
)
from longspan.cluster.schema import Settings
from longspan.pools import LABEL

NAMESPACE = "kubernetes.io/metadata.name"


def base(settings: Settings) -> list[Json]:
    """The namespace, which refuses pods that ask for rights, and the account of our pods."""
    ours = kubernetes_of(settings)
    enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": ours.namespace, "labels": enforce},
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(settings, ours.service_account)
        | {"annotations": ours.service_account_annotations},
    }
    return [namespace, account]


def metadata(settings: Settings, name: str) -> Json:
    """Of an object in the namespace."""
    return {"name": name, "namespace": kubernetes_of(settings).namespace}


def budget(settings: Settings, component: str, pool: str, least: int) -> Json:
    """So many pods of a pool are not evicted; spot notices and crashes do not ask."""
    # Not maxUnavailable: Kubernetes counts with it for its own controllers alone, and these pods are KubeRay's.
    labels = pod_labels(component) | {LABEL: pool}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(settings, f"{settings.cluster}-{component}-{pool}"),
        "spec": {
            "minAvailable": least,
            "selector": {"matchLabels": labels},
            # One that serves nobody does not keep its machine from being mended.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def policy(settings: Settings, component: str) -> Json:
    """Who may connect to the pods: each other, KubeRay, what reads metrics, and who chats; nobody else."""
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
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(settings, f"{settings.cluster}-{component}"),
        "spec": {
            "podSelector": {"matchLabels": pod_labels(component)},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }


def _namespace(name: str) -> Json:
    return {"namespaceSelector": {"matchLabels": {NAMESPACE: name}}}


def _from(peers: list[Json], ports: list[int]) -> Json:
    return {"from": peers, "ports": [{"protocol": "TCP", "port": port} for port in ports]}
