"""IAM policies of the cluster's machines, one per role, and of the chat service's operators."""

from __future__ import annotations

from typing import Any

from longspan.cluster.ec2_rights import Network, autoscaler_rights
from longspan.cluster.schema import Role, Settings
from longspan.cluster.statements import Statement
from longspan.cluster.storage_rights import machine_rights, operator_rights

VERSION = "2012-10-17"
POLICY = "longspan"
"""Name of the policy in each role."""
TRUST = {
    "Version": VERSION,
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
"""Trust policy of the roles: EC2's machines assume them."""


def worker_policy(settings: Settings) -> dict[str, Any]:
    """Policy of data and training machines: objects of the settings' buckets, no API keys, no version records."""
    return _policy(machine_rights(settings, "worker"))


def serving_policy(settings: Settings) -> dict[str, Any]:
    """Policy of serving machines: that of the workers, and API keys and version records to read."""
    return _policy(machine_rights(settings, "serving"))


def head_policy(settings: Settings, network: Network | None = None) -> dict[str, Any]:
    """Policy of the head: objects of the settings' buckets, and what Ray's autoscaler does.

    Args:
        settings: all of them.
        network: where machines start; None if AWS has not been asked (see `autoscaler_rights`).

    Raises:
        UserError: the region has no image.
    """
    return _policy([*machine_rights(settings, "head"), *autoscaler_rights(settings, network)])


def operator_policy(settings: Settings) -> dict[str, Any]:
    """Policy of people who manage API keys and deploy versions of the chat service."""
    return _policy(operator_rights(settings))


def policy_of(settings: Settings, role: Role, network: Network) -> dict[str, Any]:
    """The policy of one role.

    Raises:
        UserError: the region has no image.
    """
    if role == "head":
        return head_policy(settings, network)
    return serving_policy(settings) if role == "serving" else worker_policy(settings)


def _policy(statements: list[Statement]) -> dict[str, Any]:
    return {"Version": VERSION, "Statement": statements}
