"""Create or update what a cluster needs in AWS before `ray up`: its roles and its security group.

Ray creates them itself where they are missing, but then the head may do everything in EC2 and S3, and
port 22 is open to the internet. It leaves existing ones as they are.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

from longspan.cluster.account import Account
from longspan.cluster.ec2_rights import CLUSTER_TAG, Network, role_name, security_group_name
from longspan.cluster.network import SSH, beyond, find_group, find_subnets, openings, rules_of
from longspan.cluster.roles import POLICY, TRUST, policy_of
from longspan.cluster.schema import ROLES, Role, Settings
from longspan.cluster.settings import node_types, require_filled_in
from longspan.errors import UserError


def prepare(settings: Settings, account: Account) -> Iterator[str]:
    """Create what is missing and change what differs; yields a line for each change.

    Raises:
        UserError: a setting is still a placeholder, there are no credentials, they lack a permission, or
            several VPCs are possible.
    """
    require_filled_in(settings)
    account.ask("sts:GetCallerIdentity", account.client("sts").get_caller_identity)
    vpc, subnets = find_subnets(settings, account)
    group = yield from _security_group(settings, account, vpc)
    network = Network(vpc, subnets, group)
    for role in ROLES:
        yield from _role(settings, account, role, network)
    if any(node.spot for node in node_types(settings)):
        yield from _spot_role(account)


def _role(settings: Settings, account: Account, role: Role, network: Network) -> Iterator[str]:
    iam = account.client("iam")
    name = role_name(settings, role)
    policy = policy_of(settings, role, network)
    if not account.ask("iam:GetRole", partial(iam.get_role, RoleName=name), ("NoSuchEntity",)):
        create = partial(iam.create_role, RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
        account.ask("iam:CreateRole", create)
        yield f"role {name}: created"
    document = json.dumps(policy)
    put = partial(iam.put_role_policy, RoleName=name, PolicyName=POLICY, PolicyDocument=document)
    account.ask("iam:PutRolePolicy", put)
    yield f"role {name}: has the policy of the settings"
    look = partial(iam.get_instance_profile, InstanceProfileName=name)
    found = account.ask("iam:GetInstanceProfile", look, ("NoSuchEntity",))
    if found is None:
        create = partial(iam.create_instance_profile, InstanceProfileName=name)
        found = account.ask("iam:CreateInstanceProfile", create)
        yield f"instance profile {name}: created"
    assert found
    if not found["InstanceProfile"]["Roles"]:
        add = partial(iam.add_role_to_instance_profile, InstanceProfileName=name, RoleName=name)
        account.ask("iam:AddRoleToInstanceProfile", add)


def _spot_role(account: Account) -> Iterator[str]:
    """EC2's own role for spot machines: an account's first one cannot start without it."""
    iam = account.client("iam")
    create = partial(iam.create_service_linked_role, AWSServiceName="spot.amazonaws.com")
    made = account.ask(
        "iam:CreateServiceLinkedRole", create, ("InvalidInput", "EntityAlreadyExists")
    )
    if made:
        yield "EC2's role for spot machines: created"


def _security_group(settings: Settings, account: Account, vpc: str) -> Generator[str, None, str]:
    """Create the group or correct its rules; returns its id. With EFA it is the user's own, and stays as it is."""
    found = find_group(settings, account, vpc)
    if settings.efa:
        if found is None:
            raise UserError(
                f"efa.security_group: there is no {settings.efa.security_group} in {settings.region}; "
                "correct its id"
            )
        return str(found["GroupId"])
    if found is None:
        group = _new_group(settings, account, vpc)
        yield f"security group {security_group_name(settings)}: created in {vpc}"
    else:
        group = str(found["GroupId"])
    yield from _rules(settings, account, group, found["IpPermissions"] if found else [])
    return group


def _new_group(settings: Settings, account: Account, vpc: str) -> str:
    tags = [{"Key": CLUSTER_TAG, "Value": settings.cluster}]
    create = partial(
        account.client("ec2").create_security_group,
        GroupName=security_group_name(settings),
        Description=f"Machines of the Ray cluster {settings.cluster}",
        VpcId=vpc,
        TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
    )
    made = account.ask("ec2:CreateSecurityGroup", create)
    assert made
    return str(made["GroupId"])


def _rules(
    settings: Settings, account: Account, group: str, rules: list[dict[str, Any]]
) -> Iterator[str]:
    """Everything among the machines, SSH from where the settings say, nothing else."""
    ec2 = account.client("ec2")
    wanted = rules_of(settings, group)
    # First what is missing, then what is too much: the machines of a cluster that is up reach each other all along.
    missing = list(beyond(wanted, openings(rules)))
    surplus = list(beyond(rules, openings(wanted)))
    if missing:
        allow = partial(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=missing)
        account.ask("ec2:AuthorizeSecurityGroupIngress", allow)
    if surplus:
        revoke = partial(ec2.revoke_security_group_ingress, GroupId=group, IpPermissions=surplus)
        account.ask("ec2:RevokeSecurityGroupIngress", revoke)
    if missing or surplus:
        name, networks = security_group_name(settings), ", ".join(settings.ssh_from)
        yield f"security group {name}: port {SSH} from {networks}, nothing else from outside"
