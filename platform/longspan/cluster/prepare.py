"""What a cluster needs in AWS before `ray up`: its roles and its security group. Made once, changed when settings do.

Ray makes them itself where they are missing, but then the head may do everything in EC2 and S3, and
port 22 is open to everybody. It takes the ones that are there as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from longspan.cluster.account import Account
from longspan.cluster.roles import (
    CLUSTER_TAG,
    POLICY,
    TRUST,
    policy_of,
    profile_name,
    role_name,
    security_group_name,
)
from longspan.cluster.schema import Settings
from longspan.cluster.settings import node_types
from longspan.errors import UserError

SSH = 22


def prepare(settings: Settings, account: Account) -> Iterator[str]:
    """Make what is missing and change what differs; says what was done, a line each.

    Raises:
        UserError: there are no credentials, they may not do it, or it is not clear which VPC is meant.
    """
    account.ask("sts:GetCallerIdentity", account.client("sts").get_caller_identity)
    vpc = None if settings.efa else _vpc(settings, account)  # With EFA the group is the user's own.
    for head in (True, False):
        yield from _role(settings, account, head)
    if any(node.spot for node in node_types(settings)):
        yield from _spot_role(account)
    if vpc:
        yield from _security_group(settings, account, vpc)


def _role(settings: Settings, account: Account, head: bool) -> Iterator[str]:
    iam = account.client("iam")
    role, profile = role_name(settings, head), profile_name(settings, head)
    policy = policy_of(settings, head)
    if not account.ask("iam:GetRole", partial(iam.get_role, RoleName=role), ("NoSuchEntity",)):
        create = partial(iam.create_role, RoleName=role, AssumeRolePolicyDocument=json.dumps(TRUST))
        account.ask("iam:CreateRole", create)
        yield f"role {role}: made"
    document = json.dumps(policy)
    put = partial(iam.put_role_policy, RoleName=role, PolicyName=POLICY, PolicyDocument=document)
    account.ask("iam:PutRolePolicy", put)
    yield f"role {role}: has the policy of the settings"
    look = partial(iam.get_instance_profile, InstanceProfileName=profile)
    found = account.ask("iam:GetInstanceProfile", look, ("NoSuchEntity",))
    if found is None:
        create = partial(iam.create_instance_profile, InstanceProfileName=profile)
        found = account.ask("iam:CreateInstanceProfile", create)
        yield f"instance profile {profile}: made"
    assert found
    if not found["InstanceProfile"]["Roles"]:
        add = partial(iam.add_role_to_instance_profile, InstanceProfileName=profile, RoleName=role)
        account.ask("iam:AddRoleToInstanceProfile", add)


def _spot_role(account: Account) -> Iterator[str]:
    """EC2's own role for spot machines: an account's first one cannot start without it."""
    iam = account.client("iam")
    create = partial(iam.create_service_linked_role, AWSServiceName="spot.amazonaws.com")
    made = account.ask(
        "iam:CreateServiceLinkedRole", create, ("InvalidInput", "EntityAlreadyExists")
    )
    if made:
        yield "EC2's role for spot machines: made"


def _vpc(settings: Settings, account: Account) -> str:
    """The VPC that Ray will take: that of the subnets named, or of all public ones."""
    ec2 = account.client("ec2")
    if named := settings.subnets:
        request = partial(ec2.describe_subnets, SubnetIds=named)
        answer = account.ask("ec2:DescribeSubnets", request, ("InvalidSubnetID.NotFound",))
        if answer is None:
            raise UserError(f"subnets: {', '.join(named)}: not all are in {settings.region}")
        subnets = answer["Subnets"]
    else:
        filters = [{"Name": "map-public-ip-on-launch", "Values": ["true"]}]
        answer = account.ask("ec2:DescribeSubnets", partial(ec2.describe_subnets, Filters=filters))
        subnets = answer["Subnets"] if answer else []
    vpcs = sorted({subnet["VpcId"] for subnet in subnets})
    if len(vpcs) == 1:
        return vpcs[0]
    if vpcs:
        raise UserError(
            f"subnets: those of several VPCs would do ({', '.join(vpcs)}); name the ones of one VPC in the settings"
        )
    raise UserError(
        f"subnets: {settings.region} has no subnet that gives machines public addresses; "
        "aws ec2 create-default-vpc makes some"
    )


def _security_group(settings: Settings, account: Account, vpc: str) -> Iterator[str]:
    ec2 = account.client("ec2")
    name = security_group_name(settings)
    filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
    look = partial(ec2.describe_security_groups, Filters=filters)
    answer = account.ask("ec2:DescribeSecurityGroups", look)
    assert answer is not None
    if answer["SecurityGroups"]:
        group = answer["SecurityGroups"][0]
        identity, rules = group["GroupId"], group["IpPermissions"]
    else:
        tags = [{"Key": CLUSTER_TAG, "Value": settings.cluster}]
        create = partial(
            ec2.create_security_group,
            GroupName=name,
            Description=f"Machines of the Ray cluster {settings.cluster}",
            VpcId=vpc,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
        )
        made = account.ask("ec2:CreateSecurityGroup", create)
        assert made
        identity, rules = made["GroupId"], []
        yield f"security group {name}: made in {vpc}"
    yield from _rules(settings, account, identity, rules)


def _rules(
    settings: Settings, account: Account, group: str, rules: list[dict[str, Any]]
) -> Iterator[str]:
    """Everything among the machines, SSH from where the settings say, nothing else."""
    ec2 = account.client("ec2")
    among = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ssh = {
        "IpProtocol": "tcp",
        "FromPort": SSH,
        "ToPort": SSH,
        "IpRanges": [{"CidrIp": settings.ssh_from}],
    }
    if _lets_in(rules) == _lets_in([among, ssh]):
        return
    # First what is missing, then what is too much: the machines of a cluster that is up reach each other all along.
    for rule in (among, ssh):
        if not _lets_in([rule]) <= _lets_in(rules):
            allow = partial(
                ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[rule]
            )
            account.ask("ec2:AuthorizeSecurityGroupIngress", allow)
    if surplus := list(_surplus(rules, _lets_in([among, ssh]))):
        revoke = partial(ec2.revoke_security_group_ingress, GroupId=group, IpPermissions=surplus)
        account.ask("ec2:RevokeSecurityGroupIngress", revoke)
    name = security_group_name(settings)
    yield f"security group {name}: port {SSH} from {settings.ssh_from}, nothing else from outside"


def _lets_in(rules: list[dict[str, Any]]) -> set[tuple[object, ...]]:
    """Every protocol and ports that rules open, with whom they open them to."""
    return {
        (rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort"), who)
        for rule in rules
        for key, name in _WHO.items()
        for each in rule.get(key, [])
        if (who := each[name])
    }


def _surplus(
    rules: list[dict[str, Any]], wanted: set[tuple[object, ...]]
) -> Iterator[dict[str, Any]]:
    """What rules open beyond what is wanted, as rules to revoke."""
    for rule in rules:
        ports = {key: rule[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in rule}
        whom = {
            key: left
            for key in _WHO
            if (
                left := [
                    each
                    for each in rule.get(key, [])
                    if not _lets_in([ports | {key: [each]}]) <= wanted
                ]
            )
        }
        if whom:
            yield ports | whom


_WHO = {
    "IpRanges": "CidrIp",
    "Ipv6Ranges": "CidrIpv6",
    "PrefixListIds": "PrefixListId",
    "UserIdGroupPairs": "GroupId",
}
