"""Security settings of containers: no rights on its machine, no writing outside volumes, no account of Kubernetes."""

from __future__ import annotations

from typing import Any

from longspan.cluster.kubernetes.schema import Kubernetes

Json = dict[str, Any]
ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where a client in a pod looks for its account's token, Ray's autoscaler among them."""
TOKEN_SECONDS = 3600
"""Kubernetes replaces the token before it expires, and Ray reads it anew every minute."""
AUTOSCALER_TOKEN, AUTOSCALER_TMP, TMP = "autoscaler-token", "autoscaler-tmp", "tmp"


def container_security(ours: Kubernetes) -> Json:
    """The security context of every container."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": ours.read_only_root,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def tmp_volume(name: str = TMP) -> Json:
    """A volume for /tmp: Ray's sessions and logs, Python's temporary files, compiled kernels."""
    return {"name": name, "emptyDir": {}}


def tmp_mount(name: str = TMP) -> Json:
    """Where that volume is in a container."""
    return {"name": name, "mountPath": "/tmp"}


def autoscaler_volumes() -> list[Json]:
    """Volumes of the head's pod that its autoscaler alone mounts.

    They are the account's token, as Kubernetes would mount it into every container, and a /tmp that jobs' drivers
    cannot write.
    """
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]
            }
        },
    ]
    return [
        {"name": AUTOSCALER_TOKEN, "projected": {"sources": sources}},
        tmp_volume(AUTOSCALER_TMP),
    ]


def autoscaler_mounts() -> list[Json]:
    """Where those volumes are in the autoscaler's container."""
    token = {"name": AUTOSCALER_TOKEN, "mountPath": ACCOUNT_FOLDER, "readOnly": True}
    return [token, tmp_mount(AUTOSCALER_TMP)]
