"""What `check` says of quotas; what it asks AWS is tried in test_aws.py."""

from longspan.cluster.check import Quota, needed_quotas, open_to_the_internet, short_of
from tests.cluster.settings import settings


def test_the_vcpus_of_the_whole_cluster_are_counted_by_quota() -> None:
    needed = needed_quotas(settings("pools.training.type=p4d.24xlarge", "pools.training.max=3"))
    assert {quota.code: vcpus for quota, vcpus in needed.items()} == {
        "L-1216C47A": 4,  # the head
        "L-34B43A08": 4 * 32,  # data, spot
        "L-7212CCBC": 3 * 96,  # training, spot
        "L-417A185B": 2 * 192,  # training on demand
        "L-DB2E81BA": 4 * 4,  # serving
    }
    assert "L-C4BD4855" in {quota.code for quota in needed_quotas(settings())}


def test_a_quota_that_is_too_small_comes_with_the_command_that_asks_for_more() -> None:
    quota = Quota("L-C4BD4855", "P5 spot")
    (told,) = short_of(quota, 0.0, 1536, "us-west-2")
    assert told.startswith("quota L-C4BD4855 (P5 spot): 0 vCPUs, and this cluster may take 1,536;")
    assert told.endswith(
        "--region us-west-2 --service-code ec2 --quota-code L-C4BD4855 --desired-value 1536"
    )
    assert list(short_of(quota, 1536.0, 1536, "us-west-2")) == []


def test_a_group_of_ones_own_that_is_open_to_the_internet_is_told() -> None:
    efa = "efa={subnet: subnet-1, security_group: sg-1}"
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    rules = [
        ssh | {"IpRanges": [{"CidrIp": "0.0.0.0/0"}, {"CidrIp": "9.9.9.9/32"}]},
        {"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
    ]
    assert list(open_to_the_internet(settings(efa), rules)) == [
        "efa.security_group: sg-1 is open to the internet (everything from ::/0); remove that rule",
        "efa.security_group: sg-1 is open to the internet (tcp port 22 from 0.0.0.0/0); remove that rule",
    ]
    assert (
        list(open_to_the_internet(settings(efa), [ssh | {"IpRanges": [{"CidrIp": "9.9.9.9/32"}]}]))
        == []
    )
    assert list(open_to_the_internet(settings(efa, "ssh_from=anywhere"), rules)) == []
