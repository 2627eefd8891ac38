"""The policies allow what the cluster does, and nothing beside it."""

import pytest

from longspan.cluster.roles import head_policy, worker_policy
from tests.cluster.policies import allows
from tests.cluster.settings import settings

OURS = settings(
    "region=eu-central-1",
    "zones=[]",
    "cluster=blue",
    "buckets=[{name: runs, prefix: a/b, access: write}, {name: corpora, access: read},"
    " {name: corpora2, prefix: en, access: read}]",
)
HEAD, WORKER = head_policy(OURS), worker_policy(OURS)
EC2 = "arn:aws:ec2:eu-central-1:123456789012:"
TAG = {"aws:RequestTag/ray-cluster-name": "blue"}
TAGGED = {"aws:ResourceTag/ray-cluster-name": "blue"}
OBJECTS = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")


@pytest.mark.parametrize("policy", [HEAD, WORKER], ids=["head", "worker"])
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
        "s3:GetObject": ["runs/a/b/x", "corpora/x"],
        "s3:PutObject": ["runs/a/b/x"],
        "s3:DeleteObject": ["runs/a/b/x"],
        "s3:AbortMultipartUpload": ["runs/a/b/x"],
    }


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
    ],
)
def test_listing_stays_below_the_prefix(bucket, prefix, allowed):
    context = {} if prefix is None else {"s3:prefix": prefix}
    assert allows(WORKER, "s3:ListBucket", f"arn:aws:s3:::{bucket}", context) is allowed


@pytest.mark.parametrize(
    ("action", "resource", "context", "allowed"),
    [
        ("ec2:DescribeInstances", "*", {"aws:RequestedRegion": "eu-central-1"}, True),
        ("ec2:DescribeInstances", "*", {"aws:RequestedRegion": "us-east-1"}, False),
        ("ec2:RunInstances", f"{EC2}instance/i-1", TAG, True),
        ("ec2:RunInstances", f"{EC2}instance/i-1", {}, False),
        ("ec2:RunInstances", f"{EC2}instance/i-1", {**TAG, "x": "y"}, True),
        ("ec2:RunInstances", "arn:aws:ec2:us-east-1:1:instance/i-1", TAG, False),
        ("ec2:RunInstances", "arn:aws:ec2:eu-central-1::image/ami-1", {}, True),
        ("ec2:RunInstances", f"{EC2}subnet/subnet-1", {}, True),
        ("ec2:RunInstances", f"{EC2}spot-instances-request/sir-1", {}, True),
        ("ec2:TerminateInstances", f"{EC2}instance/i-1", TAGGED, True),
        ("ec2:TerminateInstances", f"{EC2}instance/i-1", {}, False),
        ("ec2:StopInstances", f"{EC2}instance/i-1", TAGGED, False),
        ("ec2:CreateTags", f"{EC2}instance/i-1", {"ec2:CreateAction": "RunInstances"}, True),
        ("ec2:CreateTags", f"{EC2}instance/i-1", TAGGED, True),
        ("ec2:CreateTags", f"{EC2}instance/i-1", TAG, False),
        ("ec2:CreateTags", f"{EC2}volume/vol-1", TAGGED, False),
        ("ec2:AuthorizeSecurityGroupIngress", f"{EC2}security-group/sg-1", TAGGED, False),
        ("iam:CreateRole", "arn:aws:iam::1:role/blue-worker", {}, False),
    ],
)
def test_the_head_starts_and_ends_machines_of_its_cluster_only(action, resource, context, allowed):
    assert allows(HEAD, action, resource, context) is allowed
    assert not allows(WORKER, action, resource, context)


@pytest.mark.parametrize(
    ("role", "service", "allowed"),
    [
        ("blue-worker", "ec2.amazonaws.com", True),
        ("blue-worker", "lambda.amazonaws.com", False),
        ("blue-head", "ec2.amazonaws.com", False),
        ("admin", "ec2.amazonaws.com", False),
    ],
)
def test_the_head_gives_machines_the_workers_role_and_no_other(role, service, allowed):
    arn = f"arn:aws:iam::123456789012:role/{role}"
    assert allows(HEAD, "iam:PassRole", arn, {"iam:PassedToService": service}) is allowed


def test_no_statement_is_about_everything():
    everything = [
        (statement["Sid"], statement["Action"])
        for statement in HEAD["Statement"]
        if "*" in statement["Resource"] or any("*" in action for action in statement["Action"])
    ]
    assert everything == [("Look", ["ec2:DescribeInstances"])]
