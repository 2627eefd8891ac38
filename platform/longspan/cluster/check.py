"""What AWS has against a cluster, looked for before `ray up` would run into it. Nothing is changed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from longspan.cluster.account import Account, Denied
from longspan.cluster.ec2_rights import Network, role_name, security_group_name
from longspan.cluster.launcher import TOKEN
from longspan.cluster.network import (
    INTERNET,
    Rule,
    beyond,
    find_group,
    find_subnets,
    openings,
    rules_of,
)
from longspan.cluster.roles import POLICY, policy_of
from longspan.cluster.schema import ANYWHERE, ROLES, Bucket, Settings
from longspan.cluster.settings import (
    FIND_IMAGE,
    PLACEHOLDER,
    NodeType,
    image_of,
    node_types,
    unfilled,
)
from longspan.errors import UserError

PREPARE = "python -m longspan.cluster prepare"


@dataclass(frozen=True)
class Quota:
    """One of EC2's quotas of vCPUs: AWS's code of it, and what it is for."""

    code: str
    name: str


# By the start of an instance type: on demand, and spot.
_QUOTAS = (
    (r"(g|vt)\d", Quota("L-DB2E81BA", "G and VT"), Quota("L-3819A6DF", "G and VT spot")),
    (r"p5", Quota("L-417A185B", "P"), Quota("L-C4BD4855", "P5 spot")),
    (r"p\d", Quota("L-417A185B", "P"), Quota("L-7212CCBC", "P2, P3 and P4 spot")),
    (r"[acdhimrtz]\d", Quota("L-1216C47A", "standard"), Quota("L-34B43A08", "standard spot")),
)


def check(settings: Settings, account: Account) -> list[str]:
    """Every problem in a line, each with what to do; empty where there is none.

    Raises:
        UserError: there are no credentials, they are not good, or AWS cannot be reached.
    """
    account.ask("sts:GetCallerIdentity", account.client("sts").get_caller_identity)
    looks: list[Callable[[Settings, Account], Iterator[str]]] = [
        _token,
        _index,
        _placeholders,
        _image,
        _offers,
        _quotas,
        _buckets,
        _key,
        _group,
        _profiles,
    ]
    return [problem for look in looks for problem in _problems(look, settings, account)]


def _problems(
    look: Callable[[Settings, Account], Iterator[str]], settings: Settings, account: Account
) -> list[str]:
    found: list[str] = []
    try:
        for problem in look(settings, account):
            found.append(problem)
    except Denied as error:
        found.append(f"{error}, so this was not looked at: {look.__name__.strip('_')}")
    return found


def _token(settings: Settings, account: Account) -> Iterator[str]:
    if not Path(TOKEN).is_file():
        yield (
            f"{TOKEN}: there is no token for Ray in this folder; run this in the checkout, after `make setup`"
        )


def _index(settings: Settings, account: Account) -> Iterator[str]:
    if settings.extra_index is None:
        yield (
            "extra_index: not set, and constraints/cpu.txt has torch's CPU build, which the package index lacks: "
            "give the address of PyTorch's CPU wheel index"
        )


def _placeholders(settings: Settings, account: Account) -> Iterator[str]:
    yield from unfilled(settings)


def _image(settings: Settings, account: Account) -> Iterator[str]:
    how = f"the newest that fits: {FIND_IMAGE.format(region=settings.region)}"
    try:
        image = image_of(settings)
    except UserError as error:
        yield str(error)
        return
    if image == PLACEHOLDER:
        return
    ec2 = account.client("ec2")
    answer = account.ask(
        "ec2:DescribeImages",
        partial(ec2.describe_images, ImageIds=[image]),
        ("InvalidAMIID.NotFound", "InvalidAMIID.Malformed", "InvalidAMIID.Unavailable"),
    )
    if not answer or not answer["Images"]:
        yield f"image: there is no {image} in {settings.region}; {how}"


def _offers(settings: Settings, account: Account) -> Iterator[str]:
    ec2 = account.client("ec2")
    places = settings.zones or [settings.region]
    kind = "availability-zone" if settings.zones else "region"
    wanted = {node.machine.type: node.key for node in _used(settings)}
    for place in places:
        filters = [
            {"Name": "instance-type", "Values": list(wanted)},
            {"Name": "location", "Values": [place]},
        ]
        request = partial(ec2.describe_instance_type_offerings, LocationType=kind, Filters=filters)
        answer = account.ask("ec2:DescribeInstanceTypeOfferings", request)
        assert answer
        offered = {offer["InstanceType"] for offer in answer["InstanceTypeOfferings"]}
        for name in wanted.keys() - offered:
            yield f"{wanted[name]}.type: {place} has no {name}; choose another type or another region"


def _quotas(settings: Settings, account: Account) -> Iterator[str]:
    quotas = account.client("service-quotas")
    for quota, vcpus in needed_quotas(settings).items():
        request = partial(quotas.get_service_quota, ServiceCode="ec2", QuotaCode=quota.code)
        answer = account.ask("servicequotas:GetServiceQuota", request, ("NoSuchResourceException",))
        if answer:
            yield from short_of(quota, answer["Quota"]["Value"], vcpus, settings.region)


def needed_quotas(settings: Settings) -> dict[Quota, int]:
    """The vCPUs of a whole cluster by the quota that they count to; types of unknown families to none."""
    needed: dict[Quota, int] = defaultdict(int)
    for node in _used(settings):
        if quota := quota_of(node):
            needed[quota] += node.most * node.instance.vcpus
    return dict(needed)


def short_of(quota: Quota, granted: float, vcpus: int, region: str) -> Iterator[str]:
    """What to do where a quota is too small for so many vCPUs."""
    if granted < vcpus:
        yield (
            f"quota {quota.code} ({quota.name}): {granted:,.0f} vCPUs, and this cluster may take {vcpus:,}; lower max, "
            f"or ask: aws service-quotas request-service-quota-increase --region {region} --service-code ec2 "
            f"--quota-code {quota.code} --desired-value {vcpus}"
        )


def quota_of(node: NodeType) -> Quota | None:
    """Which quota of vCPUs a node counts to; None where it is not known."""
    for family, on_demand, spot in _QUOTAS:
        if re.match(family, node.machine.type):
            return spot if node.spot else on_demand
    return None


def _buckets(settings: Settings, account: Account) -> Iterator[str]:
    for name in dict.fromkeys(bucket.name for bucket in settings.buckets):
        yield from _bucket(
            next(each for each in settings.buckets if each.name == name), settings, account
        )


def _bucket(bucket: Bucket, settings: Settings, account: Account) -> Iterator[str]:
    s3 = account.client("s3")
    request = partial(s3.get_bucket_location, Bucket=bucket.name)
    try:
        answer = account.ask("s3:GetBucketLocation", request, ("NoSuchBucket", "404"))
    except Denied:
        yield f"buckets: {bucket.name} is somebody else's, or these credentials may not do s3:GetBucketLocation on it"
        return
    if answer is None:
        yield f"buckets: there is no {bucket.name}; aws s3 mb s3://{bucket.name} --region {settings.region}"
        return
    region = answer["LocationConstraint"] or "us-east-1"  # S3 names its first region by nothing.
    if region != settings.region:
        yield (
            f"buckets: {bucket.name} is in {region}, the cluster in {settings.region}: every byte would be paid for "
            "and come slowly; move one of them"
        )


def _key(settings: Settings, account: Account) -> Iterator[str]:
    key = settings.key
    if key is None:
        return
    request = partial(account.client("ec2").describe_key_pairs, KeyNames=[key.name])
    if not account.ask("ec2:DescribeKeyPairs", request, ("InvalidKeyPair.NotFound",)):
        yield (
            f"key.name: there is no key pair {key.name!r} in {settings.region}; import it (aws ec2 import-key-pair), "
            "or leave key out, and Ray makes one"
        )
    if not Path(key.file).expanduser().is_file():
        yield f"key.file: there is no {key.file} on this machine"


def _group(settings: Settings, account: Account) -> Iterator[str]:
    try:
        vpc, _ = find_subnets(settings, account)
    except Denied:
        raise
    except UserError as error:
        yield str(error)
        return
    group = find_group(settings, account, vpc)
    if group is None:
        yield f"security group {security_group_name(settings)}: not there; run {PREPARE}"
        return
    rules = group["IpPermissions"]
    if settings.efa:
        yield from open_to_the_internet(settings, rules)
    elif surplus := openings(list(beyond(rules, openings(rules_of(settings, group["GroupId"]))))):
        opened = ", ".join(sorted(_opening(*each) for each in surplus))
        yield f"security group {group['GroupName']}: open beyond the settings ({opened}); run {PREPARE}"
    elif list(beyond(rules_of(settings, group["GroupId"]), openings(rules))):
        networks = ", ".join(settings.ssh_from)
        yield f"security group {group['GroupName']}: port 22 is not open from {networks}; run {PREPARE}"


def open_to_the_internet(settings: Settings, rules: list[Rule]) -> Iterator[str]:
    """Rules of the user's own security group, used with EFA, that let the whole internet connect."""
    assert settings.efa
    if settings.ssh_from == [ANYWHERE]:
        return
    for opening in sorted(openings(rules), key=str):
        if opening[-1] in (INTERNET, "::/0"):
            yield (
                f"efa.security_group: {settings.efa.security_group} is open to the internet "
                f"({_opening(*opening)}); remove that rule"
            )


def _opening(protocol: object, first: object, last: object, who: object) -> str:
    if first is None:
        return f"everything from {who}"
    ports = f"port {first}" if first == last else f"ports {first} to {last}"
    return f"{protocol} {ports} from {who}"


def _profiles(settings: Settings, account: Account) -> Iterator[str]:
    iam = account.client("iam")
    network = _network(settings, account)
    for role in ROLES:
        name = role_name(settings, role)
        request = partial(iam.get_instance_profile, InstanceProfileName=name)
        answer = account.ask("iam:GetInstanceProfile", request, ("NoSuchEntity",))
        if not answer or not answer["InstanceProfile"]["Roles"]:
            yield f"instance profile {name}: not there, or without a role; run {PREPARE}"
            continue
        if network is None:
            continue
        request = partial(iam.get_role_policy, RoleName=name, PolicyName=POLICY)
        has = account.ask("iam:GetRolePolicy", request, ("NoSuchEntity",))
        if not has or has["PolicyDocument"] != policy_of(settings, role, network):
            yield f"role {name}: has not the policy of these settings; run {PREPARE}"


def _network(settings: Settings, account: Account) -> Network | None:
    """None where the image, a subnet or the group is missing, which the other looks report."""
    try:
        image_of(settings)
        vpc, subnets = find_subnets(settings, account)
    except Denied:
        raise
    except UserError:
        return None
    group = find_group(settings, account, vpc)
    return Network(vpc, subnets, group["GroupId"]) if group else None


def _used(settings: Settings) -> list[NodeType]:
    return [node for node in node_types(settings) if node.most]
