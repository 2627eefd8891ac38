"""What the cluster's machines may do in AWS: an IAM policy for the head, one for the workers, and their names."""

from __future__ import annotations

from typing import Any

from longspan.cluster.schema import Bucket, Settings

CLUSTER_TAG = "ray-cluster-name"
POLICY = "longspan"
"""What the policy is called in the role."""
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
"""Who may take on the roles: EC2's machines."""


def role_name(settings: Settings, head: bool) -> str:
    """The role of the head, or of the workers."""
    return f"{settings.cluster}-{'head' if head else 'worker'}"


def profile_name(settings: Settings, head: bool) -> str:
    """The instance profile that carries the role: by the same name, as in AWS's own console."""
    return role_name(settings, head)


def security_group_name(settings: Settings) -> str:
    """The group that all machines are in."""
    return f"{settings.cluster}-nodes"


def worker_policy(settings: Settings) -> dict[str, Any]:
    """Objects of the settings' buckets below their prefixes, and nothing else."""
    return {"Version": "2012-10-17", "Statement": _storage(settings)}


def head_policy(settings: Settings) -> dict[str, Any]:
    """The same, and what Ray's autoscaler does: start, tag and end machines of this cluster."""
    return {"Version": "2012-10-17", "Statement": [*_storage(settings), *_autoscaler(settings)]}


def policy_of(settings: Settings, head: bool) -> dict[str, Any]:
    """The head's, or the workers'."""
    return head_policy(settings) if head else worker_policy(settings)


def _storage(settings: Settings) -> list[dict[str, Any]]:
    statements = []
    for number, bucket in enumerate(settings.buckets):
        name = f"arn:{_partition(settings)}:s3:::{bucket.name}"
        inside = f"{name}/{bucket.prefix}/*" if bucket.prefix else f"{name}/*"
        actions = ["s3:GetObject"]
        if bucket.access == "write":
            actions += ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        statements += [
            _allow(f"List{number}", ["s3:ListBucket"], [name], _below(bucket)),
            _allow(f"Objects{number}", actions, [inside]),
        ]
    return statements


def _below(bucket: Bucket) -> dict[str, Any] | None:
    if not bucket.prefix:
        return None
    # Arrow asks whether there is such a bucket before it writes, which names no prefix and counts as listing.
    condition = "StringLikeIfExists" if bucket.access == "write" else "StringLike"
    return {condition: {"s3:prefix": [bucket.prefix, f"{bucket.prefix}/*"]}}


def _autoscaler(settings: Settings) -> list[dict[str, Any]]:
    arn = f"arn:{_partition(settings)}"
    ec2 = f"{arn}:ec2:{settings.region}"
    used = ["subnet", "security-group", "network-interface", "volume", "key-pair"]
    used += ["spot-instances-request"]
    ours = {"StringEquals": {f"aws:ResourceTag/{CLUSTER_TAG}": settings.cluster}}
    tagged = {"StringEquals": {f"aws:RequestTag/{CLUSTER_TAG}": settings.cluster}}
    here = {"StringEquals": {"aws:RequestedRegion": settings.region}}
    started = {"StringEquals": {"ec2:CreateAction": "RunInstances"}}
    passed = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    instances = [f"{ec2}:*:instance/*"]
    with_what = [f"{ec2}::image/*", *(f"{ec2}:*:{kind}/*" for kind in used)]
    role = f"{arn}:iam::*:role/{role_name(settings, head=False)}"
    return [
        _allow("Look", ["ec2:DescribeInstances"], ["*"], here),
        _allow("StartTagged", ["ec2:RunInstances"], instances, tagged),
        _allow("StartWith", ["ec2:RunInstances"], with_what),
        _allow("TagAtTheStart", ["ec2:CreateTags"], instances, started),
        _allow("TagAndEndOurs", ["ec2:CreateTags", "ec2:TerminateInstances"], instances, ours),
        _allow("WorkersRole", ["iam:PassRole"], [role], passed),
    ]


def _allow(
    name: str, actions: list[str], resources: list[str], condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    statement: dict[str, Any] = {
        "Sid": name,
        "Effect": "Allow",
        "Action": actions,
        "Resource": resources,
    }
    return statement | ({"Condition": condition} if condition else {})


def _partition(settings: Settings) -> str:
    for start, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")):
        if settings.region.startswith(start):
            return partition
    return "aws"
