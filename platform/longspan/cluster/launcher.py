"""The file that `ray up` reads."""

from __future__ import annotations

import shlex
from typing import Any

from longspan.cluster.ec2_rights import role_name, security_group_name
from longspan.cluster.schema import Settings
from longspan.cluster.settings import NodeType, image_of, node_types

HOME = "~/longspan"
TOKEN = ".longspan/ray/token"
"""Made by `make setup`; env.sh points Ray at it, on the user's machine and on the nodes."""
FILES = ["LICENSE", "README.md", "pyproject.toml", "Makefile", "env.sh"]
FOLDERS = ["cluster", "constraints", "jobs", "platform", "serving", "tools"]
RAY_PORT, OBJECT_PORT = 6379, 8076


def launcher_config(settings: Settings) -> dict[str, Any]:
    """What `ray up` is to do, as Ray's cluster launcher takes it.

    Raises:
        UserError: the region has no image.
    """
    nodes = node_types(settings)
    return {
        "cluster_name": settings.cluster,
        "max_workers": sum(node.most for node in nodes[1:]),
        "idle_timeout_minutes": settings.idle_minutes,
        "provider": _provider(settings),
        "auth": _auth(settings),
        "head_node_type": nodes[0].name,
        "available_node_types": {node.name: _node_type(settings, node) for node in nodes},
        "file_mounts": _file_mounts(settings),
        "rsync_exclude": ["**/__pycache__", "**/*.egg-info"],
        "rsync_filter": [],
        # Ubuntu installs updates when it first starts, and holds apt's lock meanwhile.
        "initialization_commands": ["cloud-init status --wait >/dev/null || true"],
        "setup_commands": _fetch(settings),
        "head_setup_commands": [_setup_cpu(settings)],
        "worker_setup_commands": [_setup_cpu(settings)],
        "head_start_ray_commands": _head_start(settings),
        "worker_start_ray_commands": _worker_start(settings),
    }


def _provider(settings: Settings) -> dict[str, Any]:
    provider: dict[str, Any] = {
        "type": "aws",
        "region": settings.region,
        "cache_stopped_nodes": False,
        # `prepare` makes this group with its rules, and Ray leaves a group that has rules as it is.
        "security_group": {"GroupName": security_group_name(settings)},
    }
    if settings.zones:
        provider["availability_zone"] = ",".join(settings.zones)
    return provider


def _auth(settings: Settings) -> dict[str, str]:
    auth = {"ssh_user": settings.ssh_user}
    if settings.key:
        auth["ssh_private_key"] = settings.key.file
    return auth


def _node_type(settings: Settings, node: NodeType) -> dict[str, Any]:
    if node.name == "head":
        return {
            "resources": node.resources,
            "labels": node.labels,
            "min_workers": 0,
            "max_workers": 0,
            "node_config": _node_config(settings, node),
        }
    described: dict[str, Any] = {
        "resources": node.resources,
        "labels": node.labels,
        "min_workers": node.least,
        "max_workers": node.most,
        "priority": node.priority,
    }
    if node.instance.gpus:
        # In place of the commands for all nodes, the ones that fetch the project included.
        described["worker_setup_commands"] = [
            *_fetch(settings),
            f"{HOME}/cluster/node.sh setup gpu",
        ]
    return described | {"node_config": _node_config(settings, node)}


def _node_config(settings: Settings, node: NodeType) -> dict[str, Any]:
    config: dict[str, Any] = {
        "InstanceType": node.machine.type,
        "ImageId": image_of(settings),
        "IamInstanceProfile": {"Name": role_name(settings, node.role)},
        # Version 2 alone, which a request that is only passed on cannot use.
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/sda1",
                "Ebs": {
                    "VolumeSize": node.machine.disk,
                    "VolumeType": "gp3",
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
    }
    if settings.key:
        config["KeyName"] = settings.key.name
    if node.spot:
        config["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {"SpotInstanceType": "one-time"},
        }
    if has_efa(settings, node):
        config["NetworkInterfaces"] = _interfaces(settings, node)
        return config
    if settings.efa:  # All machines in one group, for its members let each other in.
        config["SecurityGroupIds"] = [settings.efa.security_group]
    if settings.subnets:
        config["SubnetIds"] = settings.subnets
    return config


def has_efa(settings: Settings, node: NodeType) -> bool:
    """Whether a node gets Elastic Fabric Adapters."""
    return settings.efa is not None and node.pool == "training" and node.instance.efa > 0


def _interfaces(settings: Settings, node: NodeType) -> list[dict[str, Any]]:
    """One adapter on each of the type's network cards; EC2 gives a public address where there is one alone."""
    assert settings.efa
    shared = {"SubnetId": settings.efa.subnet, "Groups": [settings.efa.security_group]}
    if node.instance.efa == 1:
        shared |= {"AssociatePublicIpAddress": True}
    return [
        {"NetworkCardIndex": card, "DeviceIndex": min(card, 1), "InterfaceType": "efa", **shared}
        for card in range(node.instance.efa)
    ]


def _file_mounts(settings: Settings) -> dict[str, str]:
    # The token first: what follows may take a while, and env.sh wants it there.
    names = (TOKEN,) if settings.source.git else (TOKEN, *FILES, *FOLDERS)
    return {f"{HOME}/{name}": name for name in names}


def _fetch(settings: Settings) -> list[str]:
    source = settings.source
    if source.git is None:
        return []
    address, ref = shlex.quote(source.git), shlex.quote(source.ref)
    return [
        f"git init -q {HOME} && cd {HOME} && git fetch -q --depth 1 {address} {ref} && git checkout -q -f FETCH_HEAD"
    ]


def _setup_cpu(settings: Settings) -> str:
    index = settings.extra_index
    given = f"EXTRA_INDEX={shlex.quote(index)} " if index else ""
    return f"{given}{HOME}/cluster/node.sh setup cpu"


def _head_start(settings: Settings) -> list[str]:
    # An environment takes longer than the half hour for which Ray waits by itself.
    patience = (
        f"RAY_AUTOSCALER_RECONCILE_RAY_INSTALL_STATUS_TIMEOUT_S={settings.install_minutes * 60}"
    )
    return [
        f"{_ENVIRONMENT} && ray stop",
        f"{_ENVIRONMENT} && {_limits(settings)} && export {patience} && "
        f"ray start --head --port={RAY_PORT} --object-manager-port={OBJECT_PORT} --dashboard-host=127.0.0.1 "
        "--autoscaling-config=~/ray_bootstrap_config.yaml",
    ]


def _worker_start(settings: Settings) -> list[str]:
    return [
        f"{_ENVIRONMENT} && ray stop",
        f"{_ENVIRONMENT} && {_limits(settings)} && "
        f"ray start --address=$RAY_HEAD_IP:{RAY_PORT} --object-manager-port={OBJECT_PORT}",
        f"{HOME}/cluster/node.sh watch",
    ]


_ENVIRONMENT = f"cd {HOME} && . ./env.sh"
"""Ray asks for the token from here on, and jobs start in the folder of the project."""


def _limits(settings: Settings) -> str:
    # Nothing else tells a job's S3 clients where its buckets are.
    return f"ulimit -n $(ulimit -Hn) && export AWS_DEFAULT_REGION={settings.region}"
