"""Rights in EC2 of the head, whose autoscaler starts and ends the cluster's machines.

Jobs' drivers run on the head as well, so each right is limited to machines as the autoscaler starts them. The
condition keys of RunInstances by resource are those of AWS's service authorization reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from longspan.cluster.schema import ROLES, Role, Settings
from longspan.cluster.settings import image_of, node_types
from longspan.cluster.statements import Statement, allow, partition

CLUSTER_TAG = "ray-cluster-name"
TAG_KEYS = ["Name", "ray-*"]
"""Tags that Ray's autoscaler sets."""
RAY_KEY_PAIRS = ["ray-autoscaler_*"]
"""Key pairs that `ray up` creates where the settings name none."""
EC2 = "ec2.amazonaws.com"


@dataclass(frozen=True)
class Network:
    """Where the cluster's machines start.

    Attributes:
        vpc: id of the VPC.
        subnets: ids of the subnets that Ray chooses from.
        group: id of the security group of all machines.
    """

    vpc: str
    subnets: tuple[str, ...]
    group: str


def role_name(settings: Settings, role: Role) -> str:
    """The name of an IAM role, and of the instance profile that carries it."""
    return f"{settings.cluster}-{role}"


def security_group_name(settings: Settings) -> str:
    """The name of the security group of all machines."""
    return f"{settings.cluster}-nodes"


def autoscaler_rights(settings: Settings, network: Network | None) -> list[Statement]:
    """Statements for the head.

    Args:
        settings: all of them.
        network: where machines start; None as long as AWS has not been asked. Then the settings' own subnets
            hold, or all subnets if they name none, and security groups that carry the cluster's tag.

    Raises:
        UserError: the region has no image.
    """
    return [
        allow(
            "Look",
            ["ec2:DescribeInstances"],
            ["*"],
            _equals({"aws:RequestedRegion": settings.region}),
        ),
        *_start(settings, network),
        *_tag_and_end(settings),
        _pass_roles(settings),
    ]


def _start(settings: Settings, network: Network | None) -> list[Statement]:
    run, ec2 = ["ec2:RunInstances"], _ec2(settings)
    types = sorted({node.machine.type for node in node_types(settings)[1:] if node.most}) or [
        "none"
    ]
    machine = {
        f"aws:RequestTag/{CLUSTER_TAG}": settings.cluster,
        "ec2:InstanceType": types,
        "ec2:MetadataHttpTokens": "required",
    }
    keys = [settings.key.name] if settings.key else RAY_KEY_PAIRS
    with_what = [
        f"{ec2}::image/{image_of(settings)}",
        *(f"{ec2}:*:key-pair/{name}" for name in keys),
        f"{ec2}:*:volume/*",
        f"{ec2}:*:spot-instances-request/*",
    ]
    return [
        allow("StartOurTypes", run, [f"{ec2}:*:instance/*"], _equals(machine)),
        allow("StartWith", run, with_what),
        *_placed(settings, network),
    ]


def _placed(settings: Settings, network: Network | None) -> list[Statement]:
    """Subnets, their network interfaces, and the security group."""
    run, ec2 = ["ec2:RunInstances"], _ec2(settings)
    subnets = [f"{ec2}:*:subnet/{name}" for name in _subnets(settings, network)]
    inside = {"ArnLike": {"ec2:Subnet": subnets}}
    group = settings.efa.security_group if settings.efa else network and network.group
    tagged = None if group else _equals({f"aws:ResourceTag/{CLUSTER_TAG}": settings.cluster})
    return [
        allow("StartIn", run, subnets),
        allow("StartInterfaces", run, [f"{ec2}:*:network-interface/*"], inside),
        allow("StartInGroup", run, [f"{ec2}:*:security-group/{group or '*'}"], tagged),
    ]


def _subnets(settings: Settings, network: Network | None) -> list[str]:
    if network:
        return list(network.subnets)
    if not settings.subnets:
        return ["*"]
    ours = [*settings.subnets, *([settings.efa.subnet] if settings.efa else [])]
    return list(dict.fromkeys(ours))


def _tag_and_end(settings: Settings) -> list[Statement]:
    instances = [f"{_ec2(settings)}:*:instance/*"]
    keys = {"ForAllValues:StringLike": {"aws:TagKeys": TAG_KEYS}}
    ours = {f"aws:ResourceTag/{CLUSTER_TAG}": settings.cluster}
    # A machine that got another cluster's tag would run on, unseen by the autoscaler and by `ray down`.
    stays = {"StringEqualsIfExists": {f"aws:RequestTag/{CLUSTER_TAG}": settings.cluster}}
    started = _equals({"ec2:CreateAction": "RunInstances"})
    return [
        allow("TagAtTheStart", ["ec2:CreateTags"], instances, started | keys),
        allow("TagOurs", ["ec2:CreateTags"], instances, _equals(ours) | stays | keys),
        allow("EndOurs", ["ec2:TerminateInstances"], instances, _equals(ours)),
    ]


def _pass_roles(settings: Settings) -> Statement:
    iam = f"arn:{partition(settings)}:iam::*:role"
    workers = [f"{iam}/{role_name(settings, role)}" for role in ROLES if role != "head"]
    return allow("WorkersRoles", ["iam:PassRole"], workers, _equals({"iam:PassedToService": EC2}))


def _ec2(settings: Settings) -> str:
    return f"arn:{partition(settings)}:ec2:{settings.region}"


def _equals(values: dict[str, Any]) -> dict[str, Any]:
    return {"StringEquals": values}
