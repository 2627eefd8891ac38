"""What KubeRay makes clusters from: a RayJob for pretraining, a RayService for chat."""

from __future__ import annotations

import importlib.metadata
import shlex
from pathlib import Path

import yaml

from longspan.cluster.kubernetes.network import head_egress, policy
from longspan.cluster.kubernetes.objects import budget, metadata
from longspan.cluster.kubernetes.pods import (
    AUTOSCALER,
    NOTICE_SECONDS,
    PART_OF,
    USER,
    account_name,
    equal,
    head_group,
    kubernetes_of,
    pod_labels,
    worker_group,
)
from longspan.cluster.kubernetes.security import (
    Json,
    autoscaler_mounts,
    container_security,
    tmp_mount,
    tmp_volume,
)
from longspan.cluster.schema import Settings
from longspan.cluster.settings import node_types
from longspan.config.load import parse
from longspan.errors import UserError
from longspan.serve.schema import ServeSettings

KUBERAY = "1.7"
"""Whose reference of fields these follow; authOptions and labels came with 1.5.1."""
HOMELESS = [
    {"name": name, "value": value}
    for name, value in (("USER", "longspan"), ("HOME", "/tmp"), ("RAY_USAGE_STATS_ENABLED", "0"))
]
"""Of containers of ours beside Ray's, which keep nothing."""
CHAT = Path("serving/chat.yaml")
MODEL_PLACEHOLDER = "runs/your-run/model"


def pretrain(settings: Settings) -> list[Json]:
    """The job with a cluster of its own, which goes when the job has ended."""
    ours, (head, *workers) = kubernetes_of(settings), node_types(settings)
    asked = [node for node in workers if node.pool in ("data", "training")]
    groups = [worker_group(settings, node, "pretrain") for node in asked]
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": metadata(settings, f"{settings.cluster}-pretrain") | {"labels": PART_OF},
        "spec": {
            "entrypoint": entrypoint(settings),
            "submissionMode": "K8sJobMode",
            "submitterPodTemplate": _submitter(settings),
            "backoffLimit": ours.retries,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": ours.keep_minutes * 60,
            "suspend": False,
            "rayClusterSpec": _cluster(settings, head_group(settings, head, "pretrain"), groups),
        },
    }
    # The head alone: workers may go, and one on a spot machine has to.
    return [
        job,
        budget(settings, "pretrain", "head", 1),
        policy(settings, "pretrain"),
        head_egress(settings, "pretrain"),
    ]


def chat(settings: Settings) -> list[Json]:
    """The service; a new version comes up on a cluster of its own, beside the old one.

    Raises:
        UserError: what is to be served is not valid.
    """
    (head, *workers) = node_types(settings)
    config = serve_config(settings)
    drain = serve_settings(config).replicas.drain
    (serving,) = (node for node in workers if node.pool == "serving")
    grace = NOTICE_SECONDS if serving.spot else max(NOTICE_SECONDS, int(drain) + 30)
    groups = [worker_group(settings, serving, "chat", grace)]
    service = {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": metadata(settings, f"{settings.cluster}-chat") | {"labels": PART_OF},
        "spec": {
            "upgradeStrategy": {"type": "NewCluster"},
            # The old cluster's answers may take so long.
            "rayClusterDeletionDelaySeconds": int(drain),
            "serveConfigV2": yaml.safe_dump(config, sort_keys=False),
            "rayClusterConfig": _cluster(settings, head_group(settings, head, "chat"), groups),
        },
    }
    return [
        service,
        budget(settings, "chat", "head", 1),
        budget(settings, "chat", "serving", max(1, serving.least - 1)),
        policy(settings, "chat"),
        head_egress(settings, "chat"),
    ]


def entrypoint(settings: Settings) -> str:
    """What the job runs, in the folder of the project."""
    ours = kubernetes_of(settings)
    root = f"storage.root={storage_root(settings)}"
    # Last: `workers=8` among the others would take it away.
    pools = ["workers.pool=training", "data.pool=data"]
    command = ["python", "jobs/pretrain.py", ours.recipe, root, *ours.overrides, *pools]
    return shlex.join(command)


def storage_root(settings: Settings) -> str:
    """Where runs, models and keys are: the first bucket that is written."""
    bucket = next(each for each in settings.buckets if each.access == "write")
    return f"s3://{bucket.name}/{bucket.prefix}".rstrip("/")


def serve_config(settings: Settings) -> Json:
    """That of serving/chat.yaml, for pods that others reach.

    Raises:
        UserError: there is no such file, or its values are not valid.
    """
    if not CHAT.is_file():
        raise UserError(f"{CHAT}: there is no such file; run this from the checkout's root")
    config = yaml.safe_load(CHAT.read_text(encoding="utf-8"))
    (application,) = config["applications"]
    serving = settings.pools.serving
    application["args"] |= {
        "model": MODEL_PLACEHOLDER,
        "pool": "serving",
        "replicas": {"min": max(1, serving.min), "max": max(1, serving.max)},
        "storage": {"root": storage_root(settings)},
    }
    application["args"] |= kubernetes_of(settings).chat
    serve_settings(config)
    # The service sends requests to every pod that is ready, which one is with a proxy of its own alone.
    return config | {
        "proxy_location": "EveryNode",
        "http_options": config["http_options"] | {"host": "0.0.0.0"},
    }


def serve_settings(config: Json) -> ServeSettings:
    """What the application makes of its args.

    Raises:
        UserError: they are not valid.
    """
    return parse(ServeSettings, config["applications"][0]["args"])


def _cluster(settings: Settings, head: Json, groups: list[Json]) -> Json:
    return {
        "rayVersion": importlib.metadata.version("ray"),
        "authOptions": {"mode": "token"},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {
            "version": "v2",
            "idleTimeoutSeconds": round(settings.idle_minutes * 60),
            "imagePullPolicy": kubernetes_of(settings).pull_policy,
            "env": HOMELESS,
            "resources": equal(AUTOSCALER),
            "securityContext": container_security(kubernetes_of(settings)),
            "volumeMounts": autoscaler_mounts(),
        },
        "headGroupSpec": head,
        "workerGroupSpecs": groups,
    }


def _submitter(settings: Settings) -> Json:
    ours = kubernetes_of(settings)
    container = {
        "name": "ray-job-submitter",
        "image": ours.image,
        "imagePullPolicy": ours.pull_policy,
        "env": HOMELESS,
        "resources": equal({"cpu": "500m", "memory": "1Gi"}),
        "securityContext": container_security(ours),
        "volumeMounts": [tmp_mount()],
    }
    secrets = {"imagePullSecrets": [{"name": name} for name in ours.pull_secrets]}
    spec = {
        "restartPolicy": "Never",
        "serviceAccountName": account_name(settings, "worker"),
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER},
        "containers": [container],
        "volumes": [tmp_volume()],
    }
    return {
        "metadata": {"labels": pod_labels("pretrain")},
        "spec": spec | (secrets if ours.pull_secrets else {}),
    }
