"""The policies allow what the cluster does, and nothing beside it."""

import pytest

from longspan.cluster.ec2_rights import Network
from longspan.cluster.roles import head_policy, operator_policy, serving_policy, worker_policy
from tests.cluster.policies import allows
from tests.cluster.settings import settings

CHANGES = (
    "region=eu-central-1",
    "zones=[]",
    "cluster=blue",
    "image={eu-central-1: ami-0123456789abcdef0}",
    "buckets=[{name: runs, prefix: a/b, access: write}, {name: corpora, access: read},"
    " {name: corpora2, prefix: en, access: read}, {name: apart, prefix: chat, access: control}]",
)
OURS = settings(*CHANGES)
NETWORK = Network("vpc-1", ("subnet-1", "subnet-2"), "sg-1")
HEAD, WORKER = head_policy(OURS, NETWORK), worker_policy(OURS)
SERVING, OPERATOR = serving_policy(OURS), operator_policy(OURS)
POLICIES = {"head": HEAD, "worker": WORKER, "serving": SERVING, "operator": OPERATOR}
EC2 = "arn:aws:ec2:eu-central-1:123456789012:"
MACHINE = {
    "aws:RequestTag/ray-cluster-name": "blue",
    "ec2:InstanceType": "g6e.xlarge",
    "ec2:MetadataHttpTokens": "required",
}
TAGGED = {"aws:ResourceTag/ray-cluster-name": "blue"}
KEYS = {"aws:TagKeys": ["ray-cluster-name", "Name"]}
STARTED = {"ec2:CreateAction": "RunInstances"}
GET, PUT, DELETE = "s3:GetObject", "s3:PutObject", "s3:DeleteObject"
OBJECTS = (GET, PUT, DELETE, "s3:AbortMultipartUpload")


@pytest.mark.parametrize("policy", [HEAD, WORKER, SERVING], ids=["head", "worker", "serving"])
def test_objects_of_the_named_buckets_below_their_prefixes_and_no_others(policy):
    ours = {
        action: [
            place
            for place in ("runs/a/b/x", "runs/a/x", "runs/a/bc/x", "corpora/x", "other/a/b/x")
            if allows(policy, action, f"arn:aws:s3:::{place}")
        ]
        for action in OBJECTS
    }
    assert ours == {
        GET: ["runs/a/b/x", "corpora/x"],
        PUT: ["runs/a/b/x"],
        DELETE: ["runs/a/b/x"],
        "s3:AbortMultipartUpload": ["runs/a/b/x"],
    }


@pytest.mark.parametrize(
    "place",
    [
        "runs/a/b/runs/long/checkpoints/0001/rank-0.safetensors",
        "runs/a/b/runs/long/model/model.safetensors",
        "runs/a/b/shards/x/0.parquet",
        "runs/a/b/instruct/x/examples.jsonl",
        "runs/a/b/keys-of-nothing/x.json",
    ],
)
def test_jobs_write_their_data_as_ever(place):
    for policy in (HEAD, WORKER, SERVING):
        assert all(allows(policy, action, f"arn:aws:s3:::{place}") for action in OBJECTS)


RIGHTS = {
    # By who: keys, then versions; each to read, write, delete.
    "operator": ("rwd", "rwd"),
    "serving": ("r--", "r--"),
    "head": ("---", "r--"),
    "worker": ("---", "---"),
}


@pytest.mark.parametrize("who", RIGHTS)
def test_who_writes_data_writes_no_keys_and_no_versions(who):
    for base in ("runs/a/b", "apart/chat"):
        for name, expected in zip(
            ("keys/x.json", "serving/versions/0009.yaml"), RIGHTS[who], strict=True
        ):
            assert _rights(POLICIES[who], f"{base}/{name}") == expected


@pytest.mark.parametrize("who", ["head", "worker", "serving"])
def test_a_store_that_begins_below_the_prefix_is_protected_as_well(who):
    whole = settings("buckets=[{name: runs, access: write}]", *CHANGES[:4])
    policy = {"head": head_policy, "worker": worker_policy, "serving": serving_policy}[who](whole)
    for place in (
        "runs/keys/x.json",
        "runs/deep/down/keys/x.json",
        "runs/deep/serving/versions/1.yaml",
    ):
        assert _rights(policy, place)[1:] == "--"
        # Neither does another action of S3, nor a policy that somebody adds to the role.
        added = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
        wide = {"Statement": [*policy["Statement"], added]}
        for action in (PUT, DELETE, "s3:DeleteObjectVersion", "s3:PutObjectAcl"):
            assert not allows(wide, action, f"arn:aws:s3:::{place}")


def test_the_head_writes_versions_where_the_settings_say_so_and_never_keys():
    policy = head_policy(settings(*CHANGES, "head_records_versions=true"), NETWORK)
    for base in ("runs/a/b", "apart/chat"):
        assert _rights(policy, f"{base}/serving/versions/0009.yaml") == "rwd"
        assert _rights(policy, f"{base}/keys/x.json") == "---"


def test_operators_write_keys_and_versions_alone():
    assert _rights(OPERATOR, "runs/a/b/runs/long/model/model.safetensors") == "r--"
    assert _rights(OPERATOR, "corpora/keys/x.json") == "r--"
    assert not allows(OPERATOR, "ec2:RunInstances", f"{EC2}instance/i-1", MACHINE)


def _rights(policy, place):
    letters = {"r": GET, "w": PUT, "d": DELETE}
    return "".join(
        letter if allows(policy, action, f"arn:aws:s3:::{place}") else "-"
        for letter, action in letters.items()
    )


@pytest.mark.parametrize(
    ("bucket", "prefix", "allowed"),
    [
        ("runs", "a/b", True),
        ("runs", "a/b/runs/x", True),
        ("runs", "a/", False),
        ("runs", "a/bc", False),
        ("runs", None, True),  # HeadBucket, which Arrow asks before it writes.
        ("corpora", None, True),
        ("corpora2", "en/x", True),
        ("corpora2", None, False),
        ("other", "a/b", False),
        ("apart", "chat/keys/", False),
    ],
)
def test_listing_stays_below_the_prefix(bucket, prefix, allowed):
    context = {} if prefix is None else {"s3:prefix": prefix}
    assert allows(WORKER, "s3:ListBucket", f"arn:aws:s3:::{bucket}", context) is allowed


def without(key):
    return {name: value for name, value in MACHINE.items() if name != key}


@pytest.mark.parametrize(
    ("resource", "context", "allowed"),
    [
        ("instance/i-1", MACHINE, True),
        ("instance/i-1", {**MACHINE, "x": "y"}, True),
        ("instance/i-1", without("aws:RequestTag/ray-cluster-name"), False),
        ("instance/i-1", MACHINE | {"aws:RequestTag/ray-cluster-name": "red"}, False),
        ("instance/i-1", MACHINE | {"ec2:InstanceType": "p5.48xlarge"}, True),
        ("instance/i-1", MACHINE | {"ec2:InstanceType": "p5e.48xlarge"}, False),
        ("instance/i-1", MACHINE | {"ec2:InstanceType": "m7i.xlarge"}, False),  # the head's
        ("instance/i-1", MACHINE | {"ec2:MetadataHttpTokens": "optional"}, False),
        ("instance/i-1", without("ec2:MetadataHttpTokens"), False),
        ("subnet/subnet-1", {}, True),
        ("subnet/subnet-3", {}, False),
        ("network-interface/eni-1", {"ec2:Subnet": f"{EC2}subnet/subnet-2"}, True),
        ("network-interface/eni-1", {"ec2:Subnet": f"{EC2}subnet/subnet-3"}, False),
        ("network-interface/eni-1", {}, False),
        ("security-group/sg-1", {}, True),
        ("security-group/sg-2", {}, False),
        ("security-group/sg-2", TAGGED, False),
        ("key-pair/ray-autoscaler_eu-central-1", {}, True),
        ("key-pair/of-somebody", {}, False),
        ("volume/vol-1", {}, True),
        ("spot-instances-request/sir-1", {}, True),
        ("snapshot/snap-1", {}, False),
        ("launch-template/lt-1", {}, False),
        ("capacity-reservation/cr-1", {}, False),
    ],
)
def test_the_head_starts_machines_of_its_cluster_only(resource, context, allowed):
    assert allows(HEAD, "ec2:RunInstances", f"{EC2}{resource}", context) is allowed
    elsewhere = f"arn:aws:ec2:us-east-1:123456789012:{resource}"
    assert not allows(HEAD, "ec2:RunInstances", elsewhere, context)
    for policy in (WORKER, SERVING, OPERATOR):
        assert not allows(policy, "ec2:RunInstances", f"{EC2}{resource}", context)


@pytest.mark.parametrize(
    ("image", "allowed"), [("ami-0123456789abcdef0", True), ("ami-0fedcba9876543210", False)]
)
def test_the_head_starts_the_settings_image_only(image, allowed):
    arn = f"arn:aws:ec2:eu-central-1::image/{image}"
    assert allows(HEAD, "ec2:RunInstances", arn) is allowed


@pytest.mark.parametrize(
    ("action", "resource", "context", "allowed"),
    [
        ("ec2:DescribeInstances", "*", {"aws:RequestedRegion": "eu-central-1"}, True),
        ("ec2:DescribeInstances", "*", {"aws:RequestedRegion": "us-east-1"}, False),
        ("ec2:TerminateInstances", f"{EC2}instance/i-1", TAGGED, True),
        ("ec2:TerminateInstances", f"{EC2}instance/i-1", {}, False),
        ("ec2:StopInstances", f"{EC2}instance/i-1", TAGGED, False),
        ("ec2:CreateTags", f"{EC2}instance/i-1", STARTED | KEYS, True),
        ("ec2:CreateTags", f"{EC2}instance/i-1", STARTED | {"aws:TagKeys": ["owner"]}, False),
        (
            "ec2:CreateTags",
            f"{EC2}instance/i-1",
            TAGGED | {"aws:TagKeys": ["ray-node-status"]},
            True,
        ),
        ("ec2:CreateTags", f"{EC2}instance/i-1", TAGGED | KEYS | MACHINE, True),
        (
            "ec2:CreateTags",
            f"{EC2}instance/i-1",
            TAGGED | KEYS | {"aws:RequestTag/ray-cluster-name": "red"},
            False,
        ),
        ("ec2:CreateTags", f"{EC2}instance/i-1", KEYS | MACHINE, False),
        ("ec2:CreateTags", f"{EC2}volume/vol-1", TAGGED | KEYS, False),
        ("ec2:CreateTags", f"{EC2}security-group/sg-2", STARTED | KEYS, False),
        ("ec2:AuthorizeSecurityGroupIngress", f"{EC2}security-group/sg-1", TAGGED, False),
        ("ec2:CreateFleet", f"{EC2}fleet/fleet-1", MACHINE, False),
        ("ec2:RequestSpotInstances", f"{EC2}spot-instances-request/sir-1", {}, False),
        ("ec2:ModifyInstanceAttribute", f"{EC2}instance/i-1", TAGGED, False),
        ("iam:CreateRole", "arn:aws:iam::1:role/blue-worker", {}, False),
    ],
)
def test_the_head_tags_and_ends_machines_of_its_cluster_only(action, resource, context, allowed):
    assert allows(HEAD, action, resource, context) is allowed
    assert not allows(WORKER, action, resource, context)


@pytest.mark.parametrize(
    ("role", "service", "allowed"),
    [
        ("blue-worker", "ec2.amazonaws.com", True),
        ("blue-serving", "ec2.amazonaws.com", True),
        ("blue-worker", "lambda.amazonaws.com", False),
        ("blue-head", "ec2.amazonaws.com", False),
        ("blue-operator", "ec2.amazonaws.com", False),
        ("admin", "ec2.amazonaws.com", False),
    ],
)
def test_the_head_gives_machines_the_workers_roles_and_no_other(role, service, allowed):
    arn = f"arn:aws:iam::123456789012:role/{role}"
    assert allows(HEAD, "iam:PassRole", arn, {"iam:PassedToService": service}) is allowed


def test_before_aws_was_asked_the_settings_subnets_and_the_groups_tag_stand_in():
    named = settings(*CHANGES, "subnets=[subnet-1]", "key={name: mine, file: x}")
    allowed = {
        (resource, bool(context)): allows(
            head_policy(named), "ec2:RunInstances", f"{EC2}{resource}", context
        )
        for resource in ("subnet/subnet-1", "subnet/subnet-3", "security-group/sg-2")
        for context in ({}, TAGGED)
    }
    assert [key for key, each in allowed.items() if each] == [
        ("subnet/subnet-1", False),
        ("subnet/subnet-1", True),
        ("security-group/sg-2", True),
    ]
    for name, good in (("mine", True), ("ray-autoscaler_eu-central-1", False)):
        assert allows(head_policy(named), "ec2:RunInstances", f"{EC2}key-pair/{name}") is good


def test_with_efa_the_group_is_the_users_and_its_subnet_is_one_of_the_clusters():
    efa = settings(*CHANGES, "subnets=[subnet-1]", "efa={subnet: subnet-9, security_group: sg-9}")
    for resource in ("subnet/subnet-1", "subnet/subnet-9", "security-group/sg-9"):
        assert allows(head_policy(efa), "ec2:RunInstances", f"{EC2}{resource}")
    assert not allows(head_policy(efa), "ec2:RunInstances", f"{EC2}security-group/sg-1", TAGGED)


def test_no_statement_allows_everything():
    everything = [
        (statement["Sid"], statement["Action"])
        for policy in POLICIES.values()
        for statement in policy["Statement"]
        if statement["Effect"] == "Allow"
        and ("*" in statement["Resource"] or any("*" in action for action in statement["Action"]))
    ]
    assert everything == [("Look", ["ec2:DescribeInstances"])]
