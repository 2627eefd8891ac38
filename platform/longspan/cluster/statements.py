"""IAM policy statements."""

from __future__ import annotations

from typing import Any

from longspan.cluster.schema import Settings

Statement = dict[str, Any]


def allow(
    name: str, actions: list[str], resources: list[str], condition: dict[str, Any] | None = None
) -> Statement:
    """A statement that allows actions on resources."""
    return _statement("Allow", name, actions, resources) | (
        {"Condition": condition} if condition else {}
    )


def deny(name: str, actions: list[str], resources: list[str]) -> Statement:
    """A statement that denies actions on resources, whatever another policy of the role allows."""
    return _statement("Deny", name, actions, resources)


def partition(settings: Settings) -> str:
    """The first part of the region's ARNs."""
    for start, name in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")):
        if settings.region.startswith(start):
            return name
    return "aws"


def _statement(effect: str, name: str, actions: list[str], resources: list[str]) -> Statement:
    return {"Sid": name, "Effect": effect, "Action": actions, "Resource": resources}
