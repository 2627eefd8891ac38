"""Pods of Ray nodes: one template for the head and for each pool, none with more rights than it needs."""

from __future__ import annotations

import math

from longspan.cluster.kubernetes.schema import Kubernetes, Placement
from longspan.cluster.kubernetes.security import (
    Json,
    autoscaler_volumes,
    container_security,
    tmp_mount,
    tmp_volume,
)
from longspan.cluster.schema import Role, Settings
from longspan.cluster.settings import NodeType

PART_OF = {"app.kubernetes.io/part-of": "longspan"}
COMPONENT = "app.kubernetes.io/component"
HOME = "/longspan"
CACHE = "/cache"
AGENT_PORT, DASHBOARD_PORT, GCS_PORT, METRICS_PORT, SERVE_PORT = 52365, 8265, 6379, 8080, 8000
RAY_START = {
    "dashboard-agent-listen-port": str(AGENT_PORT),
    "metrics-export-port": str(METRICS_PORT),
    "object-spilling-directory": CACHE,
}
SHARED_MEMORY = 0.4
"""Of a pod's memory: Ray's object store takes 0.3 of it, and NCCL and vLLM need room there as well."""
NOTICE_SECONDS = 120
"""From the notice to the end of a spot machine."""
HEAD_SECONDS = 60
EARLIER_SECONDS = 10
DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
MEBI_IN_GIBI = 1024
AUTOSCALER = {"cpu": "500m", "memory": "1Gi"}
USER = 1000


def pod_labels(component: str, node: NodeType | None = None) -> dict[str, str]:
    """By which services, budgets and policies find pods; those of Ray's node as well."""
    return PART_OF | {COMPONENT: component} | (node.labels if node else {})


def head_group(settings: Settings, node: NodeType, component: str) -> Json:
    """The head: Ray's own services, jobs' drivers, and the autoscaler beside them."""
    container = _container(settings, node, "ray-head")
    container["ports"] = _ports(gcs=GCS_PORT, dashboard=DASHBOARD_PORT, metrics=METRICS_PORT)
    pod = _pod(settings, node, container, HEAD_SECONDS)
    # The autoscaler starts and ends pods; the container beside it, where jobs' drivers run, must not.
    pod["volumes"] += autoscaler_volumes()
    if component == "chat":
        container["ports"] += _ports(serve=SERVE_PORT)
    return {
        # Tasks would take what Ray's own services need.
        "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"} | RAY_START,
        "labels": node.labels,
        "template": {"metadata": {"labels": pod_labels(component, node)}, "spec": pod},
    }


def worker_group(
    settings: Settings, node: NodeType, component: str, grace: int = NOTICE_SECONDS
) -> Json:
    """A pool.

    Args:
        settings: all of them.
        node: its kind.
        component: what the cluster is for.
        grace: seconds that one which is to go has for what it is at.
    """
    container = _container(settings, node, "ray-worker")
    container["ports"] = _ports(metrics=METRICS_PORT)
    if component == "chat":
        container["ports"] += _ports(serve=SERVE_PORT)
        # Where no replica is there is no proxy, and the service sends nothing there.
        container["readinessProbe"] = _probe(SERVE_PORT, "/-/healthz", failures=1)
    return {
        "groupName": node.name,
        "replicas": node.least,
        "minReplicas": node.least,
        "maxReplicas": node.most,
        "priority": node.priority,
        "rayStartParams": RAY_START,
        "resources": {name: str(count) for name, count in node.resources.items()},
        "labels": node.labels,
        "template": {
            "metadata": {"labels": pod_labels(component, node)},
            "spec": _pod(settings, node, container, grace),
        },
    }


def account_name(settings: Settings, role: Role) -> str:
    """The service account of the pods of one role."""
    return f"{kubernetes_of(settings).service_account}-{role}"


def _environment(settings: Settings) -> list[Json]:
    # As env.sh has them on a machine.
    values = {
        "AWS_DEFAULT_REGION": settings.region,
        # The image need not know the user.
        "USER": "longspan",
        "HOME": CACHE,
        "XDG_CACHE_HOME": f"{CACHE}/.cache",
        "HF_HOME": f"{CACHE}/huggingface",
        "RAY_USAGE_STATS_ENABLED": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def equal(resources: dict[str, str]) -> Json:
    """As many as are asked for and no more: such pods are the last that a full machine ends."""
    return {"requests": dict(resources), "limits": dict(resources)}


def kubernetes_of(settings: Settings) -> Kubernetes:
    """The section, which is there."""
    assert settings.kubernetes, "kubernetes: asked for without its section"
    return settings.kubernetes


def _container(settings: Settings, node: NodeType, name: str) -> Json:
    ours = kubernetes_of(settings)
    return {
        "name": name,
        "image": ours.image,
        "imagePullPolicy": ours.pull_policy,
        # Jobs start where the recipes are.
        "workingDir": HOME,
        "env": _environment(settings),
        "resources": equal(_requests(ours, node)),
        "livenessProbe": _probe(AGENT_PORT, "/api/healthz", failures=120) | {"timeoutSeconds": 5},
        "readinessProbe": _probe(AGENT_PORT, "/api/healthz", failures=10),
        "securityContext": container_security(ours),
        "volumeMounts": [
            tmp_mount(),
            {"name": "shared-mem", "mountPath": "/dev/shm"},
            {"name": "cache", "mountPath": CACHE},
        ],
    }


def _pod(settings: Settings, node: NodeType, container: Json, grace: int) -> Json:
    ours = kubernetes_of(settings)
    # Told to end, Ray drains its node and ends when nothing runs there any more: what ran has left by then.
    drain = {"name": DRAIN, "value": str(grace - EARLIER_SECONDS)}
    container["env"].append(drain)
    memory = math.floor(_memory(ours, node) * SHARED_MEMORY)
    shared = {"medium": "Memory", "sizeLimit": f"{memory}Mi"}
    pod: Json = {
        "serviceAccountName": account_name(settings, node.role),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "shared-mem", "emptyDir": shared}, _cache(ours, node), tmp_volume()],
    }
    if ours.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in ours.pull_secrets]
    return pod | _placed(ours, node)


def _requests(ours: Kubernetes, node: NodeType) -> dict[str, str]:
    cpus, memory = node.instance.vcpus * (1 - ours.headroom) * 1000, _memory(ours, node)
    if node.name == "head":  # The autoscaler is beside it.
        cpus, memory = cpus - 500, memory - MEBI_IN_GIBI
    requests = {"cpu": f"{math.floor(cpus)}m", "memory": f"{memory}Mi"}
    return requests | ({ours.gpu: str(node.instance.gpus)} if node.instance.gpus else {})


def _memory(ours: Kubernetes, node: NodeType) -> int:
    return math.floor(node.instance.memory * (1 - ours.headroom) * MEBI_IN_GIBI)


def _cache(ours: Kubernetes, node: NodeType) -> Json:
    size = f"{node.machine.disk}Gi"
    if ours.storage_class is None:
        return {"name": "cache", "emptyDir": {"sizeLimit": size}}
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": ours.storage_class,
        "resources": {"requests": {"storage": size}},
    }
    return {"name": "cache", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}


def _placed(ours: Kubernetes, node: NodeType) -> Json:
    places = [ours.spot if node.spot else ours.on_demand]
    if node.instance.gpus:
        places.append(ours.gpus)
    if ours.instance_type_label:
        places.append(Placement(node_selector={ours.instance_type_label: node.machine.type}))
    places += [place for name, place in ours.pools.items() if name == node.name]
    selector = {key: value for place in places for key, value in place.node_selector.items()}
    tolerations = [each for place in places for each in place.tolerations]
    return {"nodeSelector": selector} | ({"tolerations": tolerations} if tolerations else {})


def _probe(port: int, path: str, failures: int) -> Json:
    # Open without Ray's token, and an image needs no program for it.
    return {
        "httpGet": {"path": path, "port": port},
        "initialDelaySeconds": 10,
        "periodSeconds": 5,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _ports(**ports: int) -> list[Json]:
    return [{"name": name, "containerPort": port} for name, port in ports.items()]
