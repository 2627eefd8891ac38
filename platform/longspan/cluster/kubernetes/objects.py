"""Objects beside a Ray cluster: the namespace, its service accounts, and which pods may be evicted."""

from __future__ import annotations

from longspan.cluster.kubernetes.pods import (
    account_name,
    kubernetes_of,
    pod_labels,
)
from longspan.cluster.kubernetes.security import Json
from longspan.cluster.schema import ROLES, Settings
from longspan.runtime.pool import LABEL


def base(settings: Settings) -> list[Json]:
    """The namespace, which refuses pods that ask for rights, and a service account for each role.

    KubeRay binds the right to start and end pods to the head's account; no token of the others is mounted.
    """
    ours = kubernetes_of(settings)
    enforce = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": ours.namespace, "labels": enforce},
    }
    accounts = [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata(settings, account_name(settings, role))
            | {"annotations": ours.service_account_annotations.get(role, {})},
            "automountServiceAccountToken": False,
        }
        for role in ROLES
    ]
    return [namespace, *accounts]


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
            # One that serves nobody does not keep its machine from being repaired.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
