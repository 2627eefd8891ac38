"""The VPC, subnets and security group of a cluster, as AWS has them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from longspan.cluster.account import Account
from longspan.cluster.ec2_rights import security_group_name
from longspan.cluster.schema import ANYWHERE, Settings
from longspan.errors import UserError

SSH = 22
INTERNET = "0.0.0.0/0"
Rule = dict[str, Any]
Opening = tuple[object, ...]
"""Protocol, first port, last port, and the network or group that may connect."""
SOURCES = {
    "IpRanges": "CidrIp",
    "Ipv6Ranges": "CidrIpv6",
    "PrefixListIds": "PrefixListId",
    "UserIdGroupPairs": "GroupId",
}


def find_subnets(settings: Settings, account: Account) -> tuple[str, tuple[str, ...]]:
    """The VPC, and the subnets of it that Ray chooses from: those named, or all public ones.

    Raises:
        UserError: there are none, or those of several VPCs.
    """
    ec2 = account.client("ec2")
    if named := settings.subnets:
        request = partial(ec2.describe_subnets, SubnetIds=named)
        answer = account.ask("ec2:DescribeSubnets", request, ("InvalidSubnetID.NotFound",))
        if answer is None:
            raise UserError(f"subnets: {', '.join(named)}: not all are in {settings.region}")
    else:
        filters = [
            {"Name": "map-public-ip-on-launch", "Values": ["true"]},
            *_of_efa(settings, account),
        ]
        if settings.zones:
            filters.append({"Name": "availability-zone", "Values": settings.zones})
        answer = account.ask("ec2:DescribeSubnets", partial(ec2.describe_subnets, Filters=filters))
    subnets = answer["Subnets"] if answer else []
    vpc = _the_vpc(settings, {subnet["VpcId"] for subnet in subnets})
    found = [str(subnet["SubnetId"]) for subnet in subnets]
    if settings.efa:
        found.append(settings.efa.subnet)
    return vpc, tuple(sorted(set(found)))


def _of_efa(settings: Settings, account: Account) -> list[dict[str, Any]]:
    """With EFA all machines are in the user's own security group, so Ray takes the subnets of its VPC."""
    if settings.efa is None:
        return []
    group = find_group(settings, account, vpc=None)
    if group is None:
        name = settings.efa.security_group
        raise UserError(
            f"efa.security_group: there is no {name} in {settings.region}; correct its id"
        )
    return [{"Name": "vpc-id", "Values": [group["VpcId"]]}]


def _the_vpc(settings: Settings, vpcs: set[str]) -> str:
    if len(vpcs) == 1:
        return vpcs.pop()
    if vpcs:
        raise UserError(
            f"subnets: those of several VPCs would do ({', '.join(sorted(vpcs))}); "
            "name the ones of one VPC in the settings"
        )
    where = ", ".join(settings.zones) or settings.region
    raise UserError(
        f"subnets: {where} has no subnet that gives machines public addresses; "
        "aws ec2 create-default-vpc makes some"
    )


def find_group(settings: Settings, account: Account, vpc: str | None) -> dict[str, Any] | None:
    """The security group of all machines, or None if it does not exist yet.

    Args:
        settings: all of them.
        account: where to look.
        vpc: id of its VPC; not used with EFA, where the settings have the group's id.
    """
    ec2 = account.client("ec2")
    if settings.efa:
        request = partial(ec2.describe_security_groups, GroupIds=[settings.efa.security_group])
        missing = ("InvalidGroup.NotFound", "InvalidGroupId.Malformed")
        answer = account.ask("ec2:DescribeSecurityGroups", request, missing)
    else:
        filters = [
            {"Name": "group-name", "Values": [security_group_name(settings)]},
            {"Name": "vpc-id", "Values": [vpc]},
        ]
        look = partial(ec2.describe_security_groups, Filters=filters)
        answer = account.ask("ec2:DescribeSecurityGroups", look)
    return answer["SecurityGroups"][0] if answer and answer["SecurityGroups"] else None


def rules_of(settings: Settings, group: str) -> list[Rule]:
    """The rules that a group should have: everything among its members, SSH from where the settings say."""
    networks = [INTERNET] if settings.ssh_from == [ANYWHERE] else settings.ssh_from
    return [
        {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]},
        {
            "IpProtocol": "tcp",
            "FromPort": SSH,
            "ToPort": SSH,
            "IpRanges": [{"CidrIp": network} for network in networks],
        },
    ]


def openings(rules: list[Rule]) -> set[Opening]:
    """Ports that rules open, each with the networks that reach them."""
    return {
        (rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort"), who)
        for rule in rules
        for key, name in SOURCES.items()
        for each in rule.get(key, [])
        if (who := each[name])
    }


def beyond(rules: list[Rule], known: set[Opening]) -> Iterator[Rule]:
    """The part of rules that opens more than what is known, as rules."""
    for rule in rules:
        ports = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule}
        more = {
            key: kept
            for key in SOURCES
            if (
                kept := [
                    each
                    for each in rule.get(key, [])
                    if not openings([ports | {key: [each]}]) <= known
                ]
            )
        }
        if more:
            yield ports | more
