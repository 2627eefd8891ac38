"""Rights in S3 of the cluster's machines and of the people who operate the chat service.

Whoever writes API keys (``keys/``) decides who may use the chat service, and whoever writes version records
(``serving/versions/``) decides what a rollback serves. Jobs that write data therefore must not write either.
"""

from __future__ import annotations

from typing import Any

from longspan.cluster.schema import Bucket, Role, Settings
from longspan.cluster.statements import Statement, allow, deny, partition

READ = ["s3:GetObject"]
WRITE = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
CHANGES = ["s3:PutObject*", "s3:DeleteObject*", "s3:AbortMultipartUpload"]
"""All actions that change or delete an object, its tags or its access list."""
ALL = ["s3:*"]


def machine_rights(settings: Settings, role: Role) -> list[Statement]:
    """Statements for one role: objects below the settings' prefixes, less API keys and version records."""
    found = []
    for number, bucket in enumerate(settings.buckets):
        if bucket.access == "control":
            found += _control_bucket(settings, number, bucket, role)
        else:
            actions = READ + WRITE if bucket.access == "write" else READ
            found += _bucket(settings, number, bucket, actions)
    return found + _denied(settings, role)


def operator_rights(settings: Settings) -> list[Statement]:
    """Statements for people who run `python -m longspan.serve keys`, `deploy` and `rollback`."""
    found = []
    for number, bucket in enumerate(settings.buckets):
        found += _bucket(settings, number, bucket, READ)
        if bucket.access != "read":
            control = _keys(settings, bucket) + _versions(settings, bucket)
            found.append(allow(f"Control{number}", WRITE, control))
    return found


def _bucket(settings: Settings, number: int, bucket: Bucket, actions: list[str]) -> list[Statement]:
    return [
        allow(f"List{number}", ["s3:ListBucket"], [_arn(settings, bucket)], _below(bucket)),
        allow(f"Objects{number}", actions, [f"{_base(settings, bucket)}/*"]),
    ]


def _control_bucket(settings: Settings, number: int, bucket: Bucket, role: Role) -> list[Statement]:
    if role == "serving":
        return _bucket(settings, number, bucket, READ)
    if role == "worker":
        return []
    records = READ + (WRITE if settings.head_records_versions else [])
    return [
        allow(f"List{number}", ["s3:ListBucket"], [_arn(settings, bucket)], _below(bucket)),
        allow(f"Objects{number}", records, _versions(settings, bucket)),
    ]


def _denied(settings: Settings, role: Role) -> list[Statement]:
    """Explicit, so that neither the statements above nor a policy that is added to the role opens it again."""
    ours = [bucket for bucket in settings.buckets if bucket.access != "read"]
    keys = [arn for bucket in ours for arn in _keys(settings, bucket)]
    versions = [arn for bucket in ours for arn in _versions(settings, bucket)]
    if role == "worker":
        return [deny("NoKeysNoVersions", ALL, keys + versions)]
    if role == "serving":
        return [deny("KeysAndVersionsAreRead", CHANGES, keys + versions)]
    records = [] if settings.head_records_versions else [deny("VersionsAreRead", CHANGES, versions)]
    return [deny("NoKeys", ALL, keys), *records]


def _keys(settings: Settings, bucket: Bucket) -> list[str]:
    # storage.root may be a folder below the prefix, so they are denied at any depth.
    base = _base(settings, bucket)
    return [f"{base}/keys/*", f"{base}/*/keys/*.json"]


def _versions(settings: Settings, bucket: Bucket) -> list[str]:
    base = _base(settings, bucket)
    return [f"{base}/serving/*", f"{base}/*/serving/versions/*"]


def _arn(settings: Settings, bucket: Bucket) -> str:
    return f"arn:{partition(settings)}:s3:::{bucket.name}"


def _base(settings: Settings, bucket: Bucket) -> str:
    return f"{_arn(settings, bucket)}/{bucket.prefix}".rstrip("/")


def _below(bucket: Bucket) -> dict[str, Any] | None:
    if not bucket.prefix:
        return None
    # Arrow asks whether there is such a bucket before it writes, which names no prefix and counts as listing.
    condition = "StringLike" if bucket.access == "read" else "StringLikeIfExists"
    return {condition: {"s3:prefix": [bucket.prefix, f"{bucket.prefix}/*"]}}
