"""In AWS, as moto plays it: what `prepare` makes, what Ray's launcher and autoscaler do with it, what `check` finds."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from longspan.cluster.__main__ import main
from longspan.cluster.account import Account
from longspan.cluster.check import check
from longspan.cluster.ec2_rights import Network
from longspan.cluster.files import rendered
from longspan.cluster.prepare import prepare
from longspan.cluster.roles import TRUST, head_policy, serving_policy, worker_policy
from longspan.cluster.schema import Settings
from longspan.errors import UserError
from tests.cluster import aws
from tests.cluster.policies import allows
from tests.cluster.settings import settings

FILLED_IN = ("image.us-west-2=ami-0123456789abcdef0", "ssh_from=8.8.8.8/32")
pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        pytest.MonkeyPatch.context() as patch,
        aws.serving(tmp_path_factory.mktemp("home"), patch) as there,
    ):
        yield there


@pytest.fixture(scope="module")
def ours(address: str) -> Settings:
    """Settings whose image and bucket are there."""
    place = {"LocationConstraint": aws.REGION}
    aws.client("s3").create_bucket(Bucket="ours", CreateBucketConfiguration=place)
    return settings(
        f"image.us-west-2={aws.image()}",
        "buckets.0.name=ours",
        "ssh_from=[8.8.8.8/32]",
        "extra_index=https://wheels.example/cpu",
    )


@pytest.fixture(scope="module")
def launched(ours: Settings) -> dict[str, Any]:
    """The rendered file as `ray up` has it once everything that it needs is there."""
    from ray.autoscaler._private.commands import _bootstrap_config

    assert list(prepare(ours, Account(ours.region)))
    return _bootstrap_config(yaml.safe_load(rendered(ours)["aws.yaml"]), no_config_cache=True)


@pytest.fixture(scope="module")
def network(launched) -> Network:
    """Where Ray starts machines, by the file that it made of ours."""
    worker = launched["available_node_types"]["training"]["node_config"]
    (group,) = worker["SecurityGroupIds"]
    (subnets,) = {
        tuple(sorted(node["node_config"]["SubnetIds"]))
        for node in launched["available_node_types"].values()
    }
    (found,) = aws.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"]
    return Network(found["VpcId"], subnets, group)


def test_roles_carry_the_policies_and_the_group_opens_port_22_alone(
    launched, ours, network
) -> None:
    iam = aws.client("iam")
    for name, policy in (
        ("longspan-head", head_policy(ours, network)),
        ("longspan-worker", worker_policy(ours)),
        ("longspan-serving", serving_policy(ours)),
    ):
        (role,) = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]
        assert (role["RoleName"], role["AssumeRolePolicyDocument"]) == (name, TRUST)
        assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
        assert iam.get_role_policy(RoleName=name, PolicyName="longspan")["PolicyDocument"] == policy
    (group,) = aws.client("ec2").describe_security_groups(GroupNames=["longspan-nodes"])[
        "SecurityGroups"
    ]
    assert aws.open_to_the_world(group) == [(22, 22, "8.8.8.8/32")]


def test_ray_takes_what_was_prepared_and_makes_a_key_pair(launched) -> None:
    ec2, iam = aws.client("ec2"), aws.client("iam")
    groups = {
        group["GroupId"]: group["GroupName"]
        for group in ec2.describe_security_groups()["SecurityGroups"]
    }
    assert sorted(groups.values()) == ["default", "longspan-nodes"]
    assert [
        role["RoleName"] for role in iam.list_roles()["Roles"] if "ray" in role["RoleName"]
    ] == []
    keys = {key["KeyName"] for key in ec2.describe_key_pairs()["KeyPairs"]}
    subnets = {subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]}
    for node in launched["available_node_types"].values():
        machine = node["node_config"]
        assert [groups[group] for group in machine["SecurityGroupIds"]] == ["longspan-nodes"]
        assert {machine["KeyName"]} == keys
        assert set(machine["SubnetIds"]) == subnets
    # What EC2 says of the types agrees with our table of them.
    head = launched["available_node_types"].pop("head")
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    own = yaml.safe_load(rendered(settings())["aws.yaml"])["available_node_types"]
    for name, node in launched["available_node_types"].items():
        assert node["resources"] == own[name]["resources"] | {"memory": node["resources"]["memory"]}
    launched["available_node_types"]["head"] = head


def test_machines_start_as_they_are_meant_to_and_end(launched) -> None:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    provider = AWSNodeProvider(launched["provider"], launched["cluster_name"])
    for name, node in launched["available_node_types"].items():
        kind = "head" if name == "head" else "worker"
        labels = {"ray-node-type": kind, "ray-user-node-type": name, "ray-node-name": f"ray-{name}"}
        provider.create_node(node["node_config"], labels, 1)
    made = {aws.tags(each)["ray-user-node-type"]: each for each in aws.instances()}
    assert made.keys() == launched["available_node_types"].keys()
    for name, machine in made.items():
        assert aws.tags(machine)["ray-cluster-name"] == "longspan"
        assert aws.tags(machine)["Name"] == f"ray-{name}"
        assert machine["MetadataOptions"]["HttpTokens"] == "required"
        profile = machine["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        role = name if name in ("head", "serving") else "worker"
        assert profile == f"longspan-{role}"
        assert [group["GroupName"] for group in machine["SecurityGroups"]] == ["longspan-nodes"]
        assert (machine.get("InstanceLifecycle") == "spot") is (name in ("data", "training"))
    assert {name: machine["InstanceType"] for name, machine in made.items()} == {
        "head": "m7i.xlarge",
        "data": "m7i.8xlarge",
        "training": "p5.48xlarge",
        "training-on-demand": "p5.48xlarge",
        "serving": "g6e.xlarge",
    }
    sizes = {volume["VolumeType"] for volume in aws.client("ec2").describe_volumes()["Volumes"]}
    assert sizes == {"gp3"}
    provider.terminate_nodes(provider.non_terminated_nodes({}))
    assert {machine["State"]["Name"] for machine in aws.instances()} == {"terminated"}
    # No disk is left behind, to be paid for.
    assert aws.client("ec2").describe_volumes()["Volumes"] == []


def test_ray_starts_machines_as_the_heads_policy_wants_them(launched, ours, network) -> None:
    """Each resource and condition of RunInstances as Ray's provider sends it, by IAM's rules."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    provider = AWSNodeProvider(launched["provider"], launched["cluster_name"])
    sent: list[dict[str, Any]] = []
    meta = provider.ec2_fail_fast.meta.client.meta
    meta.events.register(
        "provide-client-params.ec2.RunInstances", lambda params, **_: sent.append(params)
    )
    for name, node in launched["available_node_types"].items():
        if name != "head":
            labels = {"ray-node-type": "worker", "ray-node-name": f"ray-{name}"}
            provider.create_node(node["node_config"], labels, 1)
    provider.terminate_nodes(provider.non_terminated_nodes({}))
    assert len(sent) == 4
    policy = head_policy(ours, network)
    for request in sent:
        for resource, context in requested(request):
            assert allows(policy, "ec2:RunInstances", resource, context), resource
        tags = {"aws:TagKeys": [tag["Key"] for tag in request["TagSpecifications"][0]["Tags"]]}
        started = tags | {"ec2:CreateAction": "RunInstances"}
        assert allows(policy, "ec2:CreateTags", f"{EC2}instance/i-1", started)
        elsewhere = request | {"SubnetId": "subnet-of-somebody"}
        assert not all(
            allows(policy, "ec2:RunInstances", resource, context)
            for resource, context in requested(elsewhere)
        )


EC2 = "arn:aws:ec2:us-west-2:123456789012:"


def requested(request: dict[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Resources that EC2 asks IAM about for a request, each with its condition keys."""
    tags = request["TagSpecifications"][0]["Tags"]
    subnet = f"{EC2}subnet/{request['SubnetId']}"
    machine = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in tags}
    machine["ec2:InstanceType"] = request["InstanceType"]
    machine["ec2:MetadataHttpTokens"] = request["MetadataOptions"]["HttpTokens"]
    return [
        (f"{EC2}instance/*", machine),
        (f"arn:aws:ec2:us-west-2::image/{request['ImageId']}", {}),
        (f"{EC2}key-pair/{request['KeyName']}", {}),
        (f"{EC2}volume/*", {}),
        (subnet, {}),
        (f"{EC2}network-interface/*", {"ec2:Subnet": subnet}),
        *((f"{EC2}security-group/{group}", {}) for group in request["SecurityGroupIds"]),
    ]


def test_the_heads_actions_are_all_that_the_autoscaler_asks_for(launched, ours, address) -> None:
    """Moto judges actions; resources and conditions are judged above and in test_roles.py."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    iam = aws.client("iam")
    statements = [each for each in head_policy(ours)["Statement"] if each["Effect"] == "Allow"]
    actions = [action for each in statements for action in each["Action"]]
    allowed = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    iam.create_user(UserName="head")
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="head", PolicyName="head", PolicyDocument=document)
    key = iam.create_access_key(UserName="head")["AccessKey"]
    credentials = {
        "aws_access_key_id": key["AccessKeyId"],
        "aws_secret_access_key": key["SecretAccessKey"],
    }
    worker = launched["available_node_types"]["training"]["node_config"]
    with aws.permissions_count(address):
        provider = AWSNodeProvider(
            launched["provider"] | {"aws_credentials": credentials}, "longspan"
        )
        provider.create_node(worker, {"ray-node-type": "worker", "ray-node-name": "x"}, 1)
        (node,) = provider.non_terminated_nodes({})
        provider.set_node_tags(node, {"ray-node-status": "up-to-date"})
        assert provider.internal_ip(node)
        provider.terminate_node(node)
        assert provider.non_terminated_nodes({}) == []
        with pytest.raises(Exception, match=r"UnauthorizedOperation|AccessDenied"):
            provider.ec2.meta.client.describe_volumes()


def test_preparing_again_changes_only_what_the_settings_changed(launched, ours) -> None:
    account = Account(ours.region)
    unchanged = [line for line in prepare(ours, account) if "has the policy" not in line]
    assert unchanged == []
    wider = ours.model_copy(update={"ssh_from": ["9.9.9.0/24", "1.1.1.1/32"]})
    (line,) = [line for line in prepare(wider, account) if "has the policy" not in line]
    assert (
        line
        == "security group longspan-nodes: port 22 from 9.9.9.0/24, 1.1.1.1/32, nothing else from outside"
    )
    (group,) = aws.client("ec2").describe_security_groups(GroupNames=["longspan-nodes"])[
        "SecurityGroups"
    ]
    assert sorted(aws.open_to_the_world(group)) == [(22, 22, "1.1.1.1/32"), (22, 22, "9.9.9.0/24")]
    assert any(rule["UserIdGroupPairs"] for rule in group["IpPermissions"])
    assert [line for line in prepare(wider, account) if "has the policy" not in line] == []
    # A second address beside ours, which somebody has opened, goes; ours stays.
    other: dict[str, Any] = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    other["IpRanges"] = [{"CidrIp": "0.0.0.0/0"}]
    ec2 = aws.client("ec2")
    ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[other])
    (told,) = [line for line in check(wider, account) if line.startswith("security group")]
    assert told == (
        "security group longspan-nodes: open beyond the settings (tcp port 22 from 0.0.0.0/0); "
        "run python -m longspan.cluster prepare"
    )
    list(prepare(wider, account))
    (group,) = ec2.describe_security_groups(GroupNames=["longspan-nodes"])["SecurityGroups"]
    assert sorted(aws.open_to_the_world(group)) == [(22, 22, "1.1.1.1/32"), (22, 22, "9.9.9.0/24")]


def test_a_cluster_from_before_is_told_what_to_change(launched, ours) -> None:
    """Roles without conditions, no role of the serving pool, SSH open to the internet."""
    iam, account = aws.client("iam"), Account(ours.region)
    list(prepare(ours.model_copy(update={"ssh_from": ["anywhere"]}), account))
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
    for role in ("longspan-head", "longspan-worker"):
        iam.put_role_policy(RoleName=role, PolicyName="longspan", PolicyDocument=document)
    iam.remove_role_from_instance_profile(
        InstanceProfileName="longspan-serving", RoleName="longspan-serving"
    )
    iam.delete_instance_profile(InstanceProfileName="longspan-serving")
    told = [line for line in check(ours, account) if line.endswith("longspan.cluster prepare")]
    assert [line.partition(":")[0] for line in told] == [
        "security group longspan-nodes",
        "role longspan-head",
        "role longspan-worker",
        "instance profile longspan-serving",
    ]
    list(prepare(ours, account))
    assert [line for line in check(ours, account) if line.endswith("prepare")] == []


def test_nothing_is_created_while_the_examples_values_are_in_place(address) -> None:
    with pytest.raises(
        UserError, match=r"image: still the placeholder.*\nssh_from: 203.0.113.7/32"
    ):
        list(prepare(settings("cluster=early"), Account(aws.REGION)))
    names = [role["RoleName"] for role in aws.client("iam").list_roles()["Roles"]]
    assert not any("early" in name for name in names)


def test_a_good_cluster_has_nothing_against_it(launched, ours, tmp_path, monkeypatch) -> None:
    list(prepare(ours, Account(ours.region)))
    token = tmp_path / ".longspan" / "ray" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("x")
    monkeypatch.chdir(tmp_path)
    assert check(ours, Account(ours.region)) == []
    more = ours.model_copy(
        update={"buckets": [*ours.buckets, ours.buckets[0].model_copy(update={"prefix": "more"})]}
    )
    assert [line.partition(":")[0] for line in check(more, Account(ours.region))] == [
        "role longspan-head",
        "role longspan-worker",
        "role longspan-serving",
    ]
    token.unlink()
    (told,) = check(ours, Account(ours.region))
    assert told.startswith(".longspan/ray/token: there is no token for Ray in this folder")


def test_what_ray_up_would_run_into_is_told_before_all_of_it_at_once(
    address, tmp_path, monkeypatch
) -> None:
    place = {"LocationConstraint": "eu-central-1"}
    aws.client("s3", "eu-central-1").create_bucket(Bucket="far", CreateBucketConfiguration=place)
    bad = settings(
        "cluster=new",
        "key={name: gone, file: /none}",
        "buckets=[{name: far, access: write}, {name: nowhere, access: read}]",
        "instances={x1.big: {vcpus: 8, memory: 64, on_demand: 1, spot: 1}}",
        "pools.data.type=x1.big",
    )
    monkeypatch.chdir(tmp_path)
    starts = (
        ".longspan/ray/token: there is no token for Ray in this folder",
        "extra_index: not set, and constraints/cpu.txt has torch's CPU build",
        "image: still the placeholder; put yours there, the newest one that fits: aws ssm",
        "ssh_from: 203.0.113.7/32 is an address for examples, so nobody could log in; give your own",
        "pools.data.type: us-west-2 has no x1.big; choose another type or another region",
        "buckets: far is in eu-central-1, the cluster in us-west-2",
        "buckets: there is no nowhere; aws s3 mb s3://nowhere --region us-west-2",
        "key.name: there is no key pair 'gone' in us-west-2; import it",
        "key.file: there is no /none on this machine",
        "security group new-nodes: not there; run python -m longspan.cluster prepare",
        "instance profile new-head: not there, or without a role; run python -m longspan.cluster",
        "instance profile new-worker: not there",
        "instance profile new-serving: not there",
    )
    found = check(bad, Account(bad.region))
    assert len(found) == len(starts)
    for told, start in zip(found, starts, strict=True):
        assert told.startswith(start)


def test_without_credentials_there_is_one_line_and_status_2(address, monkeypatch, capsys) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for command in ("check", "prepare"):
        assert main([command, *FILLED_IN]) == 2
        told = capsys.readouterr().err
        assert told.startswith("error: AWS: no credentials were found")
        assert told.count("\n") == 1
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert main(["check"]) == 2
    assert "nobody" in capsys.readouterr().err


def test_credentials_that_are_not_good_are_told_without_them(address, monkeypatch, capsys) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    with aws.permissions_count(address):
        assert main(["prepare", *FILLED_IN]) == 2
    told = capsys.readouterr()
    assert "the credentials are not good" in told.err
    for secret in (aws.SECRET, "AKIAIOSFODNN7EXAMPLE"):
        assert secret not in told.out + told.err


def test_a_way_that_leads_nowhere_is_told(address, monkeypatch, capsys) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert main(["check"]) == 2
    assert (
        "got no answer (EndpointConnectionError); is there a region us-west-2"
        in capsys.readouterr().err
    )
